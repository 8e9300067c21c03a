"""Contours of a structure set as a mask: a voxel belongs to it when its centre lies inside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthct.data.errors import DataError, UsageError
from synthct.data.readers.contents import Outlines
from synthct.data.readers.planes import combined
from synthct.data.volume import Grid, Modality, Volume

LEANS_VOXELS = 0.25
"""How much a contour may lean out of its slice [slice distances]."""

LEVEL_STEP = 0.01
"""Contours closer along the normal lie in one plane [slice distances]."""


@dataclass(frozen=True, eq=False)
class Drawing:
    """A structure as a mask, and how many slices have contours that cross each other."""

    mask: Volume
    crossed: int = 0


def mask_of(outlines: Outlines, structure: str, grid: Grid) -> Volume:
    """The mask of :func:`draw`."""
    return draw(outlines, structure, grid).mask


def draw(outlines: Outlines, structure: str, grid: Grid) -> Drawing:
    """The structure on ``grid``, the grid of the outlined series.

    :func:`~synthct.data.readers.planes.combined` says what several contours of one plane mean. A
    slice takes the nearest outlined plane within half the usual distance of the planes, so contours
    on every second slice, or on planes between slices, give a complete mask too. A plane covers
    half that distance below (included) to half above (excluded).
    """
    if structure not in outlines.contours:
        raise UsageError(
            f"the structure set has no structure {structure!r}",
            rule="a mask is drawn from a structure of the set",
            remedy=f"give one of {', '.join(outlines.names) or '(none)'}",
            code="no-structure",
        )
    levels = _by_level(outlines.contours[structure], grid, structure)
    drawn = np.array(sorted(levels))
    mask = np.zeros(grid.shape, np.uint8)
    usual = float(np.median(np.diff(drawn))) if drawn.size > 1 else 0.0
    exclusive, crossed = structure in outlines.exclusive, 0
    for row in range(grid.shape[0]):
        polygons = levels.get(_plane_of(row, drawn, max(usual / 2, 0.5)), ())
        areas = (inside_polygon(polygon, grid.shape[1], grid.shape[2]) for polygon in polygons)
        mask[row], cross = combined(areas, mask.shape[1:], exclusive)
        crossed += cross
    if not mask.any():
        raise DataError(
            f"the contours are at slices {drawn[0]:.1f} to {drawn[-1]:.1f} "
            f"of {grid.shape[0]} and enclose no voxel",
            where=structure,
            rule="a structure lies within the scan on which it was drawn",
            remedy="give the series that the structure set refers to",
            code="structure-elsewhere",
        )
    return Drawing(Volume(mask, grid, Modality.MASK), crossed)


def _plane_of(row: int, drawn: NDArray[np.float64], reach: float) -> float:
    """The outlined plane that a slice belongs to: from ``reach`` below it up to ``reach`` above."""
    at = row + LEVEL_STEP  # a tie must not depend on the rounding of the levels
    nearest = float(drawn[np.abs(drawn - at).argmin()])
    within = drawn[0] - 0.5 <= at < drawn[-1] + 0.5
    return nearest if within and -reach <= at - nearest < reach else np.nan


def _by_level(
    contours: Sequence[Any], grid: Grid, structure: str
) -> dict[float, list[NDArray[np.float64]]]:
    """Polygons as (y, x) indices by the slice index they lie at, which need not be whole."""
    levels: dict[float, list[NDArray[np.float64]]] = {}
    for points_mm in contours:
        index = grid.index(np.asarray(points_mm))
        if np.ptp(index[:, 0]) > LEANS_VOXELS:
            raise DataError(
                f"a contour spans {np.ptp(index[:, 0]):.2f} slices",
                where=structure,
                rule="contours lie in the slices of the scan",
                remedy="give the series that was outlined, in its own orientation",
                code="contour-leans",
            )
        level = round(float(index[:, 0].mean()) / LEVEL_STEP) * LEVEL_STEP
        levels.setdefault(level, []).append(index[:, 1:])
    return levels


def inside_polygon(corners: NDArray[Any], rows: int, columns: int) -> NDArray[np.bool_]:
    """Which pixel centres (Y, X) lie inside the closed polygon of (y, x) indices; even-odd rule.

    A half-line from each centre crosses an odd number of edges (Shimrat, CACM 5 (1962) 434). The
    rule makes the void of a keyhole a void (PS3.3 C.8.8.6.3). A centre exactly on an edge belongs
    to one side of it, so that areas keep their size and neighbours share no voxel.
    """
    y, x = corners[:, 0], corners[:, 1]
    y_next, x_next = np.roll(y, -1), np.roll(x, -1)
    inside = np.zeros((rows, columns), np.bool_)
    low = max(0, int(np.ceil(y.min())))
    high = min(rows - 1, int(np.floor(y.max())))
    for row in range(low, high + 1):
        crosses = (y <= row) != (y_next <= row)
        if not crosses.any():
            continue
        share = (row - y[crosses]) / (y_next[crosses] - y[crosses])
        cuts = np.sort(x[crosses] + share * (x_next[crosses] - x[crosses]))
        inside[row] = np.searchsorted(cuts, np.arange(columns), side="right") % 2 == 1
    return inside
