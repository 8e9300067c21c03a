"""Reads and checks a candidate scan once, before anything is stored."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from synthct.data.errors import DataError
from synthct.data.volume import Grid, Modality, Volume
from synthct.tasks.ingestion.body import body_mask
from synthct.tasks.ingestion.canonical import reoriented
from synthct.tasks.ingestion.check import guarded, header_findings
from synthct.tasks.ingestion.findings import Code, Finding, Severity, worst
from synthct.tasks.ingestion.guards import GUARDS
from synthct.tasks.ingestion.params import BodyParams, IngestionParams
from synthct.tasks.intake.pseudonym import Pseudonyms
from synthct.tasks.intake.rows import (
    NEW,
    REFUSED,
    IntakeRow,
    PlannedScan,
    content_of,
    orientation,
)
from synthct.tasks.intake.scrub import redact_values, redacted_message
from synthct.tasks.intake.source_items import Candidate

BY_NAME = Code("modality-by-name", Severity.NOTE, "the modality is taken from the file name")
UNCLEAR = Code(
    "identity-unclear",
    Severity.REJECT,
    "the patient cannot be determined from IDs, UIDs and names: two patients could become one",
    "write a manifest with --write-manifest FILE, name the patients, and give it with --manifest",
)
BURNED_IN_SAID = Code(
    "burned-in-annotation",
    Severity.QUARANTINE,
    "the header declares text burned into the pixels",
    "export the series without annotations, or name the scan in a manifest to ingest it",
)

COARSE_MM = 3.0
"""Largest voxel size of the outline for this purpose."""


def inspect(candidate: Candidate, names: Pseudonyms, region: str) -> PlannedScan:
    """Read a candidate and run the checks that need no body outline, and that for burned-in text.

    Parameters
    ----------
    candidate
        The scan.
    names
        Pseudonyms of the patients.
    region
        Region of a candidate without one.
    """
    row = IntakeRow(
        patient=names.patient(candidate.identity),
        scan=str(candidate.modality).lower(),
        modality=str(candidate.modality),
        region=candidate.region or region,
        format=candidate.format,
        place=candidate.label,
    )
    if candidate.unclear:
        finding = UNCLEAR.found(candidate.unclear)
        row = replace(row, patient="", findings=(finding,), status=REFUSED)
        return PlannedScan(row, candidate)
    try:
        volume, facts = candidate.read()
    except DataError as error:
        remedy = redact_values(error.remedy, candidate.secrets)
        message = redacted_message(error, candidate.secrets)
        finding = Finding(error.code, Severity.REJECT, message, remedy)
        return PlannedScan(replace(row, status=REFUSED, findings=(finding,)), candidate)
    looked, findings = guarded(volume, None, IngestionParams())
    findings = [*header_findings(facts), *findings, *burned_in_text(looked, row.region)]
    if str(candidate.found.header.get("BurnedInAnnotation", "")).upper() == "YES":
        findings.append(BURNED_IN_SAID.found("the header declares burned-in text"))
    if candidate.guessed:
        findings.append(BY_NAME.found(f"modality {candidate.modality} taken from the file name"))
    row = replace(
        row,
        size=volume.grid.shape[::-1],
        spacing_mm=volume.grid.spacing_mm[::-1],
        orientation=orientation(volume.grid),
        value_range=(float(looked.array.min()), float(looked.array.max())),
        findings=tuple(findings),
        status=REFUSED if _contradicted(candidate, findings) else NEW,
    )
    return PlannedScan(row, candidate, names.hashed("scan", content_of(volume)))


def _contradicted(candidate: Candidate, findings: Iterable[Finding]) -> bool:
    """Whether the scan is rejected, or its guessed modality contradicted by the voxels."""
    severity = worst(findings)
    codes = {one.code for one in findings}
    if codes & {"burned-in-text", BURNED_IN_SAID.name} and not candidate.listed:
        return True  # before anything is stored; a manifest that names the scan overrides it
    return severity is Severity.REJECT or (candidate.guessed and "wrong-modality" in codes)


def burned_in_text(volume: Volume, region: str) -> list[Finding]:
    """Findings of the guard ``burned_in`` with a coarse body outline, which is quick."""
    if volume.array.min() == volume.array.max():
        return []
    guard = GUARDS.build("burned_in", {}, where="ingestion.guards.burned_in")
    return guard(volume, _coarse_outline(volume, region))[1]


def _coarse_outline(volume: Volume, region: str) -> Volume:
    """The body mask of every n-th voxel, repeated to the full grid."""
    every = tuple(max(1, int(COARSE_MM / step)) for step in volume.grid.spacing_mm)
    part = volume.array[tuple(slice(None, None, step) for step in every)]
    spacing = tuple(step * count for step, count in zip(volume.grid.spacing_mm, every, strict=True))
    grid = Grid(part.shape, spacing, volume.grid.origin_mm, volume.grid.direction)  # type: ignore[arg-type]
    coarse = body_mask(reoriented(Volume(part, grid, volume.modality)), BodyParams(), region)
    back = np.rint(
        grid.index(coarse.grid.points(np.moveaxis(np.indices(coarse.array.shape), 0, -1)))
    )
    mask = np.zeros(part.shape, np.uint8)
    mask[tuple(np.moveaxis(back.astype(int), -1, 0))] = coarse.array
    for axis, count in enumerate(every):
        mask = np.repeat(mask, count, axis=axis)
    z, y, x = volume.array.shape
    return volume.with_array(mask[:z, :y, :x], Modality.MASK)
