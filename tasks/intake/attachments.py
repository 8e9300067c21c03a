"""Which scan structures, doses and masks belong to, and what becomes of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from synthct.data.errors import DataError
from synthct.data.readers import read_scan
from synthct.data.readers.header_facts import grid_json
from synthct.data.readers.process import call
from synthct.data.volume import Grid, Modality, Volume
from synthct.tasks.ingestion.dataset import RawFile, RawPatient
from synthct.tasks.ingestion.findings import Code, Finding, Severity
from synthct.tasks.intake.attachment_files import DOSE, MASK, STRUCTURES, Extra
from synthct.tasks.intake.rows import (
    KNOWN,
    REFUSED,
    SECOND,
    IntakeRow,
    PlannedAttachment,
    content_of,
    orientation,
)
from synthct.tasks.intake.scan_index import Home, ScanIndex
from synthct.tasks.intake.scrub import hidden
from synthct.tasks.intake.structures import look_at_structures, references_of

SCAN_ABSENT = Code(
    "scan-absent",
    Severity.REJECT,
    "the scan that structures, a dose or a mask belong to is neither here nor in the data set",
    "give the series that they were made for too, or name the patient in a manifest",
)
OTHER_PERSON = Code(
    "structures-of-another",
    Severity.REJECT,
    "structures name a series of a patient with another number",
    "check the patient's id, or name the scan's patient in a manifest",
)
NO_STRUCTURE = Code(
    "no-structure-drawn",
    Severity.REJECT,
    "no structure of the set has closed contours within its scan",
    "give the series that the structures were drawn on",
)
BY_FRAME = Code(
    "structures-by-frame",
    Severity.NOTE,
    "the series that the structures name is not here: drawn on a scan in the same coordinates",
)
DRAWN = Code("structures-drawn", Severity.NOTE, "structures of a set, as masks on their scan")
LEFT_OUT = Code("structures-left-out", Severity.NOTE, "structures that do not lie in their scan")
HIGH_DOSE = Code("dose-high", Severity.NOTE, "a dose above what is prescribed", "check DoseUnits")
PART_OF_DOSE = Code(
    "dose-of-a-part",
    Severity.REJECT,
    "a dose of one beam or fraction, not of the plan",
    "export the sum of the plan, or name the file in a manifest to take it in",
)
NO_MASK = Code(
    "mask-not-binary",
    Severity.REJECT,
    "a body mask has the values 0 and one other",
    "give the outline of the body; label maps are not taken in",
)

MOST_GY = 150.0
"""More than any plan prescribes; brachytherapy reaches it."""

DRAWING_S = 4.0
"""Processor seconds that drawing and writing one structure may take."""

SHOWN = 6
"""Structures named in a table's cell."""

SAME_MM = 0.1


@dataclass(frozen=True, eq=False)
class _Fitted:
    """An extra with its scan and what was seen in it."""

    home: Home
    grid: Grid
    digest: str
    findings: tuple[Finding, ...] = ()
    value_range: tuple[float, float] = (0.0, 1.0)
    count: int = 0


class _Refused(Exception):
    def __init__(self, finding: Finding) -> None:
        self.finding = finding


def plan_extras(
    extras: Sequence[Extra], homes: ScanIndex, progress: Callable[[str], None]
) -> tuple[list[PlannedAttachment], list[str]]:
    """Rows of all that lies beside the scans, and notes on what was passed over."""
    planned: list[PlannedAttachment] = []
    notes: list[str] = []
    taken: dict[tuple[str, str], PlannedAttachment] = {}
    for extra in sorted(extras, key=_preference):
        for one in _rows(extra, homes):
            key = (one.row.patient, one.row.scan)
            first = taken.get(key)
            if one.row.status != REFUSED and first is not None:
                same = "the same as" if one.origin == first.origin else "another beside"
                notes.append(f"{extra.label}: {same} {first.row.place} ({first.row.scan} of "
                             f"{first.row.patient}), passed over")  # fmt: skip
                continue
            if one.row.status != REFUSED:
                taken[key] = one
            planned.append(one)
        progress(extra.label)
    return planned, notes


def _preference(extra: Extra) -> tuple[bool, bool, str]:
    summed = str(extra.found.header.get("DoseSummationType", "")).upper() == "PLAN"
    return (not extra.listed, not summed, extra.label)


def _rows(extra: Extra, homes: ScanIndex) -> Iterator[PlannedAttachment]:
    modality = {STRUCTURES: "RTSTRUCT", DOSE: "RTDOSE", MASK: "MASK"}[extra.kind]
    blank = IntakeRow(
        homes.names.patient(extra.identity), extra.kind, modality, "", extra.found.format,
        place=extra.label, status=REFUSED,
    )  # fmt: skip
    try:
        fitted = list(_FITS[extra.kind](extra, homes))
    except _Refused as refused:
        yield PlannedAttachment(replace(blank, findings=(refused.finding,)), extra)
        return
    except DataError as fault:
        # A structure's name may stand in the fault of its set: only the rule is told.
        seen = fault.rule if extra.kind == STRUCTURES else fault.what
        told = hidden(seen, extra.secrets)
        finding = Finding(fault.code, Severity.REJECT, told, fault.remedy)
        yield PlannedAttachment(replace(blank, findings=(finding,)), extra)
        return
    for one in fitted:
        yield _held_against(_row(blank, one), extra, one, homes)


def _row(blank: IntakeRow, one: _Fitted) -> IntakeRow:
    kind = blank.scan
    return replace(
        blank,
        patient=one.home.patient,
        scan=kind if kind == DOSE else f"{kind}-{one.home.scan}",
        region=one.home.region,
        size=one.grid.shape[::-1],
        spacing_mm=one.grid.spacing_mm[::-1],
        orientation=orientation(one.grid),
        value_range=one.value_range,
        findings=one.findings,
        status="new",
    )


def _held_against(
    row: IntakeRow, extra: Extra, one: _Fitted, homes: ScanIndex
) -> PlannedAttachment:
    origin = homes.names.hashed(extra.kind, one.digest)
    entry = homes.known.patients.get(row.patient)
    stored = entry and _stored(entry, extra.kind, one.home.scan)
    if stored and stored.origin == origin:
        row = replace(row, status=KNOWN)
    elif stored:
        finding = SECOND.found(f"{row.patient} has another {row.scan} in the data set")
        row = replace(row, status=REFUSED, findings=(*row.findings, finding))
    return PlannedAttachment(row, extra, one.home.scan, one.home.grid, origin, one.count)


def _stored(entry: RawPatient, kind: str, scan: str) -> RawFile | None:
    if kind == DOSE:
        return entry.dose
    return (entry.structures if kind == STRUCTURES else entry.masks).get(scan)


def _fit_structures(extra: Extra, homes: ScanIndex) -> Iterator[_Fitted]:
    path, uid = str(extra.file), extra.series
    said = call(references_of, reads=[extra.file], path=path, uid=uid)
    home, by_frame = _home_of_structures(extra, homes, said["series"], said["frame"])
    patience_s = DRAWING_S * said["count"]
    seen = call(look_at_structures, reads=[extra.file], more_cpu_s=patience_s,
                path=path, uid=uid, grid=grid_json(home.grid))  # fmt: skip
    if not seen["volumes_cm3"]:
        raise _Refused(NO_STRUCTURE.found(f"none of {said['count']} structures could be drawn"))
    parts = [f"{name} {cm3:.3g} cm3" for name, cm3 in seen["volumes_cm3"].items()]
    more = f" and {len(parts) - SHOWN} more" if len(parts) > SHOWN else ""
    findings = [DRAWN.found(f"on the {home.scan}: {', '.join(parts[:SHOWN])}{more}")]
    if by_frame:
        findings.append(BY_FRAME.found("the series that it names is not here; same coordinates"))
    if seen["unfit"]:
        reasons = ", ".join(f"{name} ({code})" for name, code in seen["unfit"].items())
        findings.append(LEFT_OUT.found(f"left out: {reasons}"))
    yield _Fitted(home, home.grid, seen["digest"], tuple(findings), count=len(parts))


def _home_of_structures(
    extra: Extra, homes: ScanIndex, series: str, frame: str
) -> tuple[Home, bool]:
    """The scan that a structure set names, else the one in whose coordinates it lies."""
    series, frame = (homes.names.uid(uid) if uid else "" for uid in (series, frame))
    own = homes.of(homes.names.patient(extra.identity))
    named = [home for home in (*homes.here(), *own) if series and home.series == series]
    if named:
        if not extra.listed and named[0].identity not in ("", extra.identity):
            raise _Refused(OTHER_PERSON.found("the series it names has another patient number"))
        return named[0], False
    if series and homes.refused(series):
        raise _Refused(SCAN_ABSENT.found("the series it names was refused"))
    near = [home for home in own if frame and home.frame == frame]
    planning = [home for home in near if home.scan == "ct"]
    if planning or len(near) == 1:
        return (planning or near)[0], True
    raise _Refused(SCAN_ABSENT.found("the series it names is neither here nor in the data set"))


def _fit_dose(extra: Extra, homes: ScanIndex) -> Iterator[_Fitted]:
    summed = str(extra.found.header.get("DoseSummationType", "")).upper()
    if summed not in ("", "PLAN", "MULTI_PLAN") and not extra.listed:
        raise _Refused(PART_OF_DOSE.found("a dose of a part of the plan"))
    own = homes.of(homes.names.patient(extra.identity))
    frame = homes.names.uid(extra.found.frame) if extra.found.frame else ""
    home = next((home for home in own if frame and home.frame == frame), None)
    if home is None:
        raise _Refused(SCAN_ABSENT.found("no scan of the patient has its frame of reference"))
    if extra.found.fault is not None:
        raise extra.found.fault
    volume = read_dose(extra)
    most = float(volume.array.max())
    findings = [HIGH_DOSE.found(f"{most:.0f} Gy at most")] if most > MOST_GY else []
    low_high = (float(volume.array.min()), round(most, 2))
    yield _Fitted(home, volume.grid, content_of(volume), tuple(findings), low_high)


def read_dose(extra: Extra) -> Volume:
    """The dose [Gy]."""
    return read_scan(extra.file, Modality.DOSE, series=extra.series)


def _fit_mask(extra: Extra, homes: ScanIndex) -> Iterator[_Fitted]:
    mask = read_mask(extra)
    own = homes.of(homes.names.patient(extra.identity))
    same = [home for home in own if home.grid.is_close(mask.grid, SAME_MM)]
    if not same:
        raise _Refused(SCAN_ABSENT.found("no scan of the patient lies on its grid"))
    for home in same:
        yield _Fitted(home, mask.grid, content_of(mask))


def read_mask(extra: Extra) -> Volume:
    """The body mask as 0 and 1."""
    found = read_scan(extra.file, Modality.MASK)
    low, high = found.array.min(), found.array.max()
    if low != 0 or high == 0 or not np.isin(found.array, (low, high)).all():
        raise _Refused(NO_MASK.found(f"values from {low:g} to {high:g}"))
    return found.with_array((found.array > 0).astype(np.uint8))


_FITS: dict[str, Callable[[Extra, ScanIndex], Iterator[_Fitted]]] = {
    STRUCTURES: _fit_structures,
    DOSE: _fit_dose,
    MASK: _fit_mask,
}
