"""Frames of reference: whether two scans share coordinates, and whether that can be true."""

from __future__ import annotations

import numpy as np

from synthct.data.volume import Volume
from synthct.tasks.ingestion.findings import Code, Finding, Severity

DIFFER = Code(
    "frames-differ",
    Severity.NOTE,
    "source and CT have different frames of reference: coordinates do not align them",
)
CONTRADICTED = Code(
    "frame-mismatch",
    Severity.QUARANTINE,
    "source and CT claim one frame of reference, but the bodies lie apart",
    "check the positions of both scans, or that both are of this patient",
)

OVER = 0.5
"""Part of the source's body, where the CT sees, that must lie in the CT's body."""

SEEN = 0.2
"""Part of the source's body that the CT must see."""


def frame_findings(
    source_body: Volume, ct_body: Volume, source_frame: str, ct_frame: str
) -> list[Finding]:
    """Compare the frames, and with equal frames the places of the bodies (upright masks)."""
    if not source_frame or not ct_frame:
        return []
    if source_frame != ct_frame:
        return [DIFFER.found("different frames of reference: the registration aligns the bodies")]
    seen, over = overlap(source_body, ct_body)
    if seen >= SEEN and over >= OVER:
        return []
    sentence = f"one frame of reference, but the CT sees {seen:.0%} of the body"
    return [CONTRADICTED.found(f"{sentence} and {over:.0%} of that lies in its own")]


def overlap(source_body: Volume, ct_body: Volume) -> tuple[float, float]:
    """Part of the source's body inside the CT's box, and the part of that inside the CT's body."""
    points = source_body.grid.points(np.argwhere(source_body.array > 0)[::7])
    index = np.rint(ct_body.grid.index(points)).astype(int)
    inside = ((index >= 0) & (index < np.asarray(ct_body.array.shape))).all(axis=1)
    if not inside.any():
        return 0.0, 0.0
    return float(inside.mean()), float((ct_body.array[tuple(index[inside].T)] > 0).mean())
