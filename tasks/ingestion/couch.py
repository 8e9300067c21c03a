"""Removes a treatment couch that the body outline includes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from synthct.data.volume import Volume
from synthct.tasks.ingestion.body import large_parts
from synthct.tasks.ingestion.findings import Code, Severity
from synthct.tasks.ingestion.params import BodyParams

COUCH = Code(
    "couch-in-body",
    Severity.REPAIR,
    "the couch was outlined as body and was cut off behind the back",
)

THICKEST_MM = 60.0
"""Couch tops are thinner than this; trunks, legs and heads are thicker."""

MIN_PRESENCE = 0.9
"""A couch is present in at least this fraction of the slices, at the same place."""

WIDEST = 0.2
"""The couch extends beyond the back by at least this fraction of the outline's width."""


def without_couch(mask: Volume, params: BodyParams) -> tuple[Volume, float]:
    """The body mask without couch, and the thickness of the couch [mm]; 0 without one."""
    y_mm = mask.grid.spacing_mm[1]
    top, bottom = couch_rows(mask.array > 0, y_mm)
    if top is None:
        return mask, 0.0
    body = mask.array > 0
    body[:, top:] = False
    body = large_parts(body, params.keep_fraction)
    return mask.with_array(body.astype(np.uint8)), (bottom - top) * y_mm


def couch_rows(body: NDArray[np.bool_], y_mm: float) -> tuple[int | None, int]:
    """First row of a couch and the row behind it (Z, Y, X; y to the back); None: no couch.

    Next to the back a couch is a plate: its lower face is flat, and its thickness and position
    are the same in all slices. Arms on the couch are flat below too, but not above.
    """
    present = body.any(axis=(1, 2))
    if not present.any():
        return None, 0
    steady = body[present].mean(axis=0) >= MIN_PRESENCE
    rows = np.flatnonzero(steady.any(axis=1))
    if rows.size == 0:
        return None, 0
    last, depth = int(rows[-1]), steady.shape[0]
    bottom = depth - 1 - steady[::-1].argmax(axis=0)
    gap_above = np.array(
        [_run(steady[: b + 1, x]) for x, b in enumerate(bottom)]
    )  # height of the lowest piece of each column, voxels
    wing = steady.any(axis=0) & (bottom >= last - 1) & (gap_above * y_mm <= THICKEST_MM)
    if wing.sum() < max(3, WIDEST * steady.sum(axis=1).max()):
        return None, 0
    thick = gap_above[wing]
    if np.ptp(np.percentile(thick, (10, 90))) > 1:
        return None, 0
    return last + 1 - int(np.ceil(np.median(thick))), last + 1


def _run(column: NDArray[np.bool_]) -> int:
    """Length of the run of True at the end of a column."""
    gaps = np.flatnonzero(~column)
    return int(column.size - 1 - gaps[-1]) if gaps.size else int(column.size)
