"""What the header and the reader have to say, beside the voxels."""

from __future__ import annotations

from synthct.data.readers.header_facts import ScanFacts
from synthct.tasks.ingestion.findings import Code, Finding, Severity

REPEATED_SLICES = Code(
    "repeated-slices", Severity.REPAIR, "exact copies of slices at the same place were dropped"
)
SHUFFLED_SLICES = Code(
    "shuffled-slices", Severity.NOTE, "instance numbers contradict the places of the slices"
)
MIXED_RESCALE = Code(
    "mixed-rescale", Severity.NOTE, "slices have different rescale lines, each got its own"
)
ROUNDED = Code(
    "direction-rounded", Severity.REPAIR, "rounded direction cosines were made perpendicular"
)
ROUNDED_PLACES = Code(
    "positions-rounded", Severity.REPAIR, "positions rounded to tenths of a millimetre were evened"
)
PIXEL_PADDING = Code(
    "pixel-padding", Severity.REPAIR, "pixels that the header calls padding became air"
)
REMARKS = {
    code.name: code
    for code in (
        REPEATED_SLICES, SHUFFLED_SLICES, MIXED_RESCALE, ROUNDED, ROUNDED_PLACES, PIXEL_PADDING,
    )
}  # fmt: skip
"""What becomes of the remarks of the readers."""

THICKNESS = Code(
    "thickness-mismatch",
    Severity.QUARANTINE,
    "the distance of the slices and their thickness differ tenfold (cm for mm in one of them?)",
    "check the unit of the positions and of the slice thickness",
)

APART = 8.0
"""Factor between slice distance and thickness that no protocol has: a unit is wrong."""


def header_findings(facts: ScanFacts) -> list[Finding]:
    """The reader's remarks, and numbers of the header that contradict each other."""
    found = []
    for remark in facts.remarks:
        severity = Severity.REPAIR if remark.repaired else Severity.NOTE
        code = REMARKS.get(remark.code, Code(remark.code, severity, remark.sentence))
        found.append(code.found(remark.sentence, severity))
    thickness_mm = facts.sequence.get("slice_thickness_mm")
    step_mm = facts.grid.spacing_mm[0]
    if thickness_mm and not 1 / APART < step_mm / thickness_mm < APART:
        sentence = f"slices of {thickness_mm:g} mm lie {step_mm:g} mm apart"
        found.append(THICKNESS.found(sentence))
    return found
