"""Checks of one scan, for ingestion and prediction alike: header, orientation, body, guards."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from synthct.data.itk import resample
from synthct.data.readers.header_facts import ScanFacts
from synthct.data.volume import Grid, Modality, Volume
from synthct.tasks.ingestion.body import GIVEN, body_mask, choose_mask
from synthct.tasks.ingestion.canonical import canonical, reoriented, stored_type
from synthct.tasks.ingestion.couch import COUCH, without_couch
from synthct.tasks.ingestion.findings import Code, Finding, Severity
from synthct.tasks.ingestion.guards import GUARDS
from synthct.tasks.ingestion.params import IngestionParams

OBLIQUE = Code(
    "oblique", Severity.REPAIR, "an oblique acquisition was resampled onto an axes-aligned grid"
)

Outline = Callable[[Volume], Volume]
"""Computes the body mask of an axes-aligned scan."""


@dataclass(frozen=True, eq=False)
class CheckedVolume:
    """A scan on an axes-aligned grid with its body mask and the findings of the guards.

    Parameters
    ----------
    volume, mask
        Axes-aligned scan (repaired where a finding says so) and body mask, on one grid.
    findings
        Findings of all guards.
    resampled
        Whether the acquisition was oblique.
    """

    volume: Volume
    mask: Volume
    findings: tuple[Finding, ...]
    resampled: bool


def check_volume(
    scan: Volume,
    region: str,
    params: IngestionParams,
    *,
    outline: Outline | None = None,
    given: Volume | None = None,
) -> CheckedVolume:
    """Reorient a scan, outline the body and run every guard.

    Parameters
    ----------
    scan
        The scan as it was read.
    region
        Region of the body, which may have its own thresholds.
    params
        Thresholds of the outline and options of the guards.
    outline
        Another function that computes the body mask.
    given
        Axes-aligned body mask supplied with the scan; used where it outlines the body
        (:func:`synthct.tasks.ingestion.body.choose_mask`).
    """
    scan, early = guarded(scan, None, params)
    turned, resampled = canonical(scan)
    turned = stored_type(turned)
    if outline:
        mask, couch_mm = outline(turned), 0.0
    else:
        mask, couch_mm = _outlined(turned, region, params)
        if resampled:
            mask = _extended_to_faces(mask, stored_type(reoriented(scan)), region, params)
    mask, on_mask = choose_mask(mask, given)
    turned, late = guarded(turned, mask, params)
    late += on_mask
    if couch_mm and not any(one.code == GIVEN.name for one in on_mask):
        late.append(COUCH.found(f"a couch of {couch_mm:.0f} mm was cut off the body outline"))
    tilt = [oblique(scan.grid)] if resampled else []
    return CheckedVolume(turned, mask, (*early, *late, *tilt), resampled)


def _outlined(scan: Volume, region: str, params: IngestionParams) -> tuple[Volume, float]:
    """The body mask without a couch, and its thickness [mm]. No signal of an MR is from a couch."""
    mask = body_mask(scan, params.body, region)
    return (mask, 0.0) if scan.modality is Modality.MR else without_couch(mask, params.body)


def _extended_to_faces(mask: Volume, own: Volume, region: str, params: IngestionParams) -> Volume:
    """The body mask with what it lacks near the faces of an oblique scan.

    On the axes-aligned box around the scan a face cuts the body into a wedge, which the opening
    removes, and leaves a lung open to the empty corner. In the scan's own slices ``own`` neither
    happens.
    """
    outlined, _ = _outlined(own, region, params)
    there = resample(outlined, mask.grid, outside=0, nearest=True)
    return mask.with_array(np.maximum(mask.array, there.array).astype(np.uint8))


def guarded(
    volume: Volume, mask: Volume | None, params: IngestionParams
) -> tuple[Volume, list[Finding]]:
    """Volume and findings after the guards that need no mask, or, with a mask, those that do."""
    findings: list[Finding] = []
    for name in GUARDS.names():
        guard = GUARDS.build(name, params.guards.get(name, {}), where=f"ingestion.guards.{name}")
        if guard.needs_mask == (mask is not None):
            volume, found = guard(volume, mask)
            findings += found
    return volume, findings


def oblique(grid: Grid) -> Finding:
    """The finding that an oblique acquisition was resampled, with its angle."""
    cosines = np.abs(np.asarray(grid.direction)).max(axis=0)
    degrees = float(np.degrees(np.arccos(np.clip(cosines.min(), -1, 1))))
    sentence = f"oblique by up to {degrees:.1f} degrees: resampled onto an axes-aligned grid"
    return OBLIQUE.found(sentence)


REPEATED_SLICES = Code(
    "repeated-slices", Severity.REPAIR, "exact copies of slices at the same place were dropped"
)
SHUFFLED_SLICES = Code(
    "shuffled-slices", Severity.NOTE, "instance numbers contradict the places of the slices"
)
MIXED_RESCALE = Code(
    "mixed-rescale", Severity.NOTE, "slices have different rescale values; each was applied"
)
ROUNDED = Code(
    "direction-rounded", Severity.REPAIR, "rounded direction cosines were made perpendicular"
)
ROUNDED_PLACES = Code(
    "positions-rounded", Severity.REPAIR, "positions rounded to 0.1 mm were made equidistant"
)
PIXEL_PADDING = Code(
    "pixel-padding", Severity.REPAIR, "pixels that the header declares as padding became air"
)
VIEWS = Code(
    "views-left-out",
    Severity.NOTE,
    "localizers or captures with the UID of the series were left out, as their headers say",
)
REMARKS = {
    code.name: code
    for code in (
        REPEATED_SLICES, SHUFFLED_SLICES, MIXED_RESCALE, ROUNDED, ROUNDED_PLACES, PIXEL_PADDING,
        VIEWS,
    )
}  # fmt: skip
"""Codes for the remarks of the readers."""

THICKNESS = Code(
    "thickness-mismatch",
    Severity.QUARANTINE,
    "slice spacing and slice thickness differ tenfold (cm for mm in one of them?)",
    "check the unit of the positions and of the slice thickness",
)

APART = 8.0
"""Ratio of slice spacing and thickness that no protocol has: a unit is wrong."""


def header_findings(facts: ScanFacts) -> list[Finding]:
    """The remarks of the reader, and contradictory numbers in the header."""
    found = []
    for remark in facts.remarks:
        severity = Severity.REPAIR if remark.repaired else Severity.NOTE
        code = REMARKS.get(remark.code, Code(remark.code, severity, remark.sentence))
        found.append(code.found(remark.sentence, severity))
    thickness_mm = facts.sequence.get("slice_thickness_mm")
    step_mm = facts.grid.spacing_mm[0]
    if thickness_mm and not 1 / APART < step_mm / thickness_mm < APART:
        sentence = f"slices of {thickness_mm:g} mm are {step_mm:g} mm apart"
        found.append(THICKNESS.found(sentence))
    return found
