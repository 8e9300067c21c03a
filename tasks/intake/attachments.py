"""Which scan structures, doses and masks belong to, and what becomes of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from synthct.data.errors import DataError
from synthct.data.readers import read_scan
from synthct.data.volume import Grid, Modality, Volume
from synthct.tasks.ingestion.dataset import RawFile, RawPatient
from synthct.tasks.ingestion.findings import Code, Finding, Severity
from synthct.tasks.intake.attachment_files import DOSE, MASK, STRUCTURES, Extra
from synthct.tasks.intake.fit_structures import fit_structures
from synthct.tasks.intake.fitting import BY_MANIFEST, SCAN_ABSENT, Fitted, Refused, said_home
from synthct.tasks.intake.rows import (
    KNOWN,
    REFUSED,
    SECOND,
    IntakeRow,
    PlannedAttachment,
    content_of,
    orientation,
)
from synthct.tasks.intake.scan_index import ScanIndex
from synthct.tasks.intake.scrub import spoken, told

HIGH_DOSE = Code("dose-high", Severity.NOTE, "a dose above what is prescribed", "check DoseUnits")
PART_OF_DOSE = Code(
    "dose-of-a-part",
    Severity.REJECT,
    "a dose of one beam or fraction, not of the plan",
    "export the sum of the plan, or name the file in a manifest to take it in",
)
MASK_OFF = Code(
    "mask-off-grid",
    Severity.REJECT,
    "a body mask lies on the voxels of its scan",
    "resample the mask onto its scan, and name its patient in a manifest if that is not clear",
)
NO_MASK = Code(
    "mask-not-binary",
    Severity.REJECT,
    "a body mask has the values 0 and one other",
    "give the outline of the body; label maps are not taken in",
)

MOST_GY = 150.0
"""More than any plan prescribes; brachytherapy reaches it."""

SAME_MM = 0.1


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
    except Refused as refused:
        yield PlannedAttachment(replace(blank, findings=(refused.finding,)), extra)
        return
    except DataError as fault:
        # A structure's name may stand in the fault of its set: only the rule is told.
        said = told(fault, extra.secrets, values=extra.kind != STRUCTURES)
        remedy = spoken(fault.remedy, extra.secrets)
        finding = Finding(fault.code, Severity.REJECT, said, remedy)
        yield PlannedAttachment(replace(blank, findings=(finding,)), extra)
        return
    for one in fitted:
        yield _held_against(_row(blank, one), extra, one, homes)


def _row(blank: IntakeRow, one: Fitted) -> IntakeRow:
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


def _held_against(row: IntakeRow, extra: Extra, one: Fitted, homes: ScanIndex) -> PlannedAttachment:
    origin = homes.names.hashed(extra.kind, one.digest)
    entry = homes.known.patients.get(row.patient)
    stored = entry and _stored(entry, extra.kind, one.home.scan)
    if stored and stored.origin == origin:
        row = replace(row, status=KNOWN)
    elif stored:
        finding = SECOND.found(f"{row.patient} has another {row.scan} in the data set")
        row = replace(row, status=REFUSED, findings=(*row.findings, finding))
    return PlannedAttachment(row, extra, one.home.scan, one.home.grid, origin, one.count, one.only)


def _stored(entry: RawPatient, kind: str, scan: str) -> RawFile | None:
    if kind == DOSE:
        return entry.dose
    return (entry.structures if kind == STRUCTURES else entry.masks).get(scan)


def _fit_dose(extra: Extra, homes: ScanIndex) -> Iterator[Fitted]:
    summed = str(extra.found.header.get("DoseSummationType", "")).upper()
    if summed not in ("", "PLAN", "MULTI_PLAN") and not extra.listed:
        raise Refused(PART_OF_DOSE.found("a dose of a part of the plan"))
    own = homes.of(homes.names.patient(extra.identity))
    frame = homes.names.uid(extra.found.frame) if extra.found.frame else ""
    near = next((home for home in own if frame and home.frame == frame), None)
    home = near or said_home(extra, homes)
    if home is None:
        raise Refused(SCAN_ABSENT.found("no scan of the patient has its frame of reference"))
    if extra.found.fault is not None:
        raise extra.found.fault
    volume = read_dose(extra)
    most = float(volume.array.max())
    findings = [HIGH_DOSE.found(f"{most:.0f} Gy at most")] if most > MOST_GY else []
    if near is None:
        _require_over(volume.grid, home.grid)
        findings.append(BY_MANIFEST.found(f"laid on the {home.scan} because a manifest says so"))
    low_high = (float(volume.array.min()), round(most, 2))
    yield Fitted(home, volume.grid, content_of(volume), tuple(findings), low_high)


def _require_over(dose: Grid, scan: Grid) -> None:
    """A dose in the scan's coordinates lies over the scan: its middle is in the scan's box."""
    middle = dose.points((np.array([dose.shape], float) - 1) / 2)
    index = scan.index(middle)[0]
    if (index < 0).any() or (index > np.array(scan.shape) - 1).any():
        raise Refused(SCAN_ABSENT.found("the dose lies beside the scan that the manifest names"))


def read_dose(extra: Extra) -> Volume:
    """The dose [Gy]."""
    return read_scan(extra.file, Modality.DOSE, series=extra.series)


def _fit_mask(extra: Extra, homes: ScanIndex) -> Iterator[Fitted]:
    mask = read_mask(extra)
    own = homes.of(homes.names.patient(extra.identity))
    same = [home for home in own if home.grid.is_close(mask.grid, SAME_MM)]
    if not same:
        raise Refused(MASK_OFF.found("no scan of the patient lies on its grid"))
    for home in same:
        yield Fitted(home, mask.grid, content_of(mask))


def read_mask(extra: Extra) -> Volume:
    """The body mask as 0 and 1."""
    found = read_scan(extra.file, Modality.MASK)
    low, high = found.array.min(), found.array.max()
    if low != 0 or high == 0 or not np.isin(found.array, (low, high)).all():
        raise Refused(NO_MASK.found(f"values from {low:g} to {high:g}"))
    return found.with_array((found.array > 0).astype(np.uint8))


_FITS: dict[str, Callable[[Extra, ScanIndex], Iterator[Fitted]]] = {
    STRUCTURES: fit_structures,
    DOSE: _fit_dose,
    MASK: _fit_mask,
}
