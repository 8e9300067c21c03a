"""Assigns structures, doses and body masks to scans, and plans their intake."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from synthct.data.errors import DataError
from synthct.data.orientation import is_reordered
from synthct.data.readers import read_scan
from synthct.data.volume import Grid, Modality, Volume
from synthct.tasks.ingestion.dataset import RawFile, RawPatient
from synthct.tasks.ingestion.findings import Code, Finding, Severity
from synthct.tasks.intake.fit_structures import fit_structures
from synthct.tasks.intake.rows import (
    KNOWN,
    REFUSED,
    SECOND,
    IntakeRow,
    PlannedAttachment,
    content_of,
    orientation,
)
from synthct.tasks.intake.scan_index import (
    BY_MANIFEST,
    SCAN_ABSENT,
    Fitted,
    NoOutlines,
    Refused,
    ScanIndex,
    scan_by_manifest,
)
from synthct.tasks.intake.scrub import redact_values, redacted_message
from synthct.tasks.intake.source_items import DOSE, MASK, STRUCTURES, Attachment

HIGH_DOSE = Code("dose-high", Severity.NOTE, "a dose above what is prescribed", "check DoseUnits")
PART_OF_DOSE = Code(
    "dose-of-a-part",
    Severity.REJECT,
    "the dose of one beam or fraction, not of the plan",
    "export the dose of the plan, or name the file in a manifest to ingest it",
)
MASK_OFF = Code(
    "mask-off-grid",
    Severity.REJECT,
    "a body mask is not on the grid of a scan of its patient",
    "resample the mask onto its scan, and name its patient in a manifest if that is unclear",
)
NO_MASK = Code(
    "mask-not-binary",
    Severity.REJECT,
    "a body mask has other values than 0 and one more",
    "give the outline of the body; label maps are not ingested",
)

MAX_GY = 150.0
"""Higher than any prescription of external beam therapy; brachytherapy reaches it."""

SAME_MM = 0.1


def plan_attachments(
    attachments: Sequence[Attachment], index: ScanIndex, progress: Callable[[str], None]
) -> tuple[list[PlannedAttachment], list[str]]:
    """The planned attachments, and notes on those that are skipped.

    Parameters
    ----------
    attachments
        Structure sets, doses and masks found in the sources.
    index
        Scans to which they may belong.
    progress
        Called with the label of each attachment when it is done.
    """
    planned: list[PlannedAttachment] = []
    notes: list[str] = []
    taken: dict[tuple[str, str], PlannedAttachment] = {}
    for attachment in sorted(attachments, key=_preference):
        try:
            rows = list(_rows(attachment, index))
        except NoOutlines as nothing:
            notes.append(
                f"{attachment.label}: {nothing.count} structures, all of them points, open lines "
                "or empty, so there is nothing to draw: skipped"
            )
            rows = []
        for one in rows:
            key = (one.row.patient, one.row.scan)
            first = taken.get(key)
            if one.row.status != REFUSED and first is not None:
                same = "the same as" if one.origin == first.origin else "another than"
                notes.append(f"{attachment.label}: {same} {first.row.place} ({first.row.scan} of "
                             f"{first.row.patient}), skipped")  # fmt: skip
                continue
            if one.row.status != REFUSED:
                taken[key] = one
            planned.append(one)
        progress(attachment.label)
    return planned, notes


def _preference(attachment: Attachment) -> tuple[bool, bool, str]:
    summed = str(attachment.found.header.get("DoseSummationType", "")).upper() == "PLAN"
    return (not attachment.listed, not summed, attachment.label)


def _rows(attachment: Attachment, index: ScanIndex) -> Iterator[PlannedAttachment]:
    modality = {STRUCTURES: "RTSTRUCT", DOSE: "RTDOSE", MASK: "MASK"}[attachment.kind]
    blank = IntakeRow(
        index.names.patient(attachment.identity), attachment.kind, modality, "",
        attachment.found.format, place=attachment.label, status=REFUSED,
    )  # fmt: skip
    try:
        fitted = list(_FITS[attachment.kind](attachment, index))
    except Refused as refused:
        yield PlannedAttachment(replace(blank, findings=(refused.finding,)), attachment)
        return
    except DataError as error:
        # An error of a structure set may contain a structure's name: its values are left out.
        message = redacted_message(error, attachment.secrets, values=attachment.kind != STRUCTURES)
        remedy = redact_values(error.remedy, attachment.secrets)
        finding = Finding(error.code, Severity.REJECT, message, remedy)
        yield PlannedAttachment(replace(blank, findings=(finding,)), attachment)
        return
    for one in fitted:
        yield _compared(_row(blank, one), attachment, one, index)


def _row(blank: IntakeRow, one: Fitted) -> IntakeRow:
    kind = blank.scan
    return replace(
        blank,
        patient=one.scan.patient,
        scan=kind if kind == DOSE else f"{kind}-{one.scan.name}",
        region=one.scan.region,
        size=one.grid.shape[::-1],
        spacing_mm=one.grid.spacing_mm[::-1],
        orientation=orientation(one.grid),
        value_range=one.value_range,
        findings=one.findings,
        status="new",
    )


def _compared(
    row: IntakeRow, attachment: Attachment, one: Fitted, index: ScanIndex
) -> PlannedAttachment:
    origin = index.names.hashed(attachment.kind, one.digest)
    entry = index.known.patients.get(row.patient)
    stored = entry and _stored(entry, attachment.kind, one.scan.name)
    if stored and stored.origin == origin:
        row = replace(row, status=KNOWN)
    elif stored:
        finding = SECOND.found(f"{row.patient} has another {row.scan} in the data set")
        row = replace(row, status=REFUSED, findings=(*row.findings, finding))
    return PlannedAttachment(
        row, attachment, one.scan.name, one.scan.grid, origin, one.count, one.only
    )


def _stored(entry: RawPatient, kind: str, scan: str) -> RawFile | None:
    if kind == DOSE:
        return entry.dose
    return (entry.structures if kind == STRUCTURES else entry.masks).get(scan)


def _fit_dose(attachment: Attachment, index: ScanIndex) -> Iterator[Fitted]:
    summed = str(attachment.found.header.get("DoseSummationType", "")).upper()
    if summed not in ("", "PLAN", "MULTI_PLAN") and not attachment.listed:
        raise Refused(PART_OF_DOSE.found("the dose of a part of the plan"))
    own = index.of_patient(index.names.patient(attachment.identity))
    frame = index.names.uid(attachment.found.frame) if attachment.found.frame else ""
    near = next((scan for scan in own if frame and scan.frame == frame), None)
    scan = near or scan_by_manifest(attachment, index)
    if scan is None:
        raise Refused(SCAN_ABSENT.found("no scan of the patient has its frame of reference"))
    if attachment.found.error is not None:
        raise attachment.found.error
    volume = read_dose(attachment)
    most = float(volume.array.max())
    findings = [HIGH_DOSE.found(f"{most:.0f} Gy at most")] if most > MAX_GY else []
    if near is None:
        _require_over(volume.grid, scan.grid)
        findings.append(BY_MANIFEST.found(f"assigned to the {scan.name} by the manifest"))
    low_high = (float(volume.array.min()), round(most, 2))
    yield Fitted(scan, volume.grid, content_of(volume), tuple(findings), low_high)


def _require_over(dose: Grid, scan: Grid) -> None:
    """Require that the centre of a dose is in the box of its scan."""
    middle = dose.points((np.array([dose.shape], float) - 1) / 2)
    index = scan.index(middle)[0]
    if (index < 0).any() or (index > np.array(scan.shape) - 1).any():
        raise Refused(SCAN_ABSENT.found("the dose is outside the scan that the manifest names"))


def read_dose(attachment: Attachment) -> Volume:
    """Read the dose [Gy], (Z, Y, X)."""
    return read_scan(attachment.file, Modality.DOSE, series=attachment.series)


def _fit_mask(attachment: Attachment, index: ScanIndex) -> Iterator[Fitted]:
    mask = read_mask(attachment)
    own = index.of_patient(index.names.patient(attachment.identity))
    same = [scan for scan in own if is_reordered(mask.grid, scan.grid, SAME_MM)]
    if not same:
        raise Refused(MASK_OFF.found("no scan of the patient has the grid of the mask"))
    for scan in same:
        yield Fitted(scan, mask.grid, content_of(mask))


def read_mask(attachment: Attachment) -> Volume:
    """Read the body mask as 0 and 1 (uint8), (Z, Y, X).

    Raises
    ------
    Refused
        ``mask-not-binary``.
    """
    found = read_scan(attachment.file, Modality.MASK)
    low, high = found.array.min(), found.array.max()
    if low != 0 or high == 0 or not np.isin(found.array, (low, high)).all():
        raise Refused(NO_MASK.found(f"values from {low:g} to {high:g}"))
    return found.with_array((found.array > 0).astype(np.uint8))


_FITS: dict[str, Callable[[Attachment, ScanIndex], Iterator[Fitted]]] = {
    STRUCTURES: fit_structures,
    DOSE: _fit_dose,
    MASK: _fit_mask,
}
