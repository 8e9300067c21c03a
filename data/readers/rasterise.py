"""Contours of a structure set as a mask: a voxel belongs to it when its centre lies inside."""

from __future__ import annotations

import bisect
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

LEVELS = 100
"""Number of distinct positions along the normal per slice distance: contours at the same position
lie in one plane. Positions are integers, so that no tie depends on rounding."""


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
    drawn = sorted(levels)
    mask = np.zeros(grid.shape, np.uint8)
    exclusive, crossed = structure in outlines.exclusive, 0
    for row in range(grid.shape[0]):
        plane = _plane_of(row, drawn)
        polygons = () if plane is None else levels[plane]
        areas = (inside_polygon(polygon, grid.shape[1], grid.shape[2]) for polygon in polygons)
        mask[row], cross = combined(areas, mask.shape[1:], exclusive)
        crossed += cross
    if not mask.any():
        raise DataError(
            f"the contours are at slices {drawn[0] / LEVELS:.1f} to {drawn[-1] / LEVELS:.1f} "
            f"of {grid.shape[0]} and enclose no voxel",
            where=structure,
            rule="a structure lies within the scan on which it was drawn",
            remedy="give the series that the structure set refers to",
            code="structure-elsewhere",
        )
    return Drawing(Volume(mask, grid, Modality.MASK), crossed)


def _plane_of(row: int, drawn: Sequence[int]) -> int | None:
    """The outlined plane that a slice belongs to, of the sorted planes.

    Between two planes at the usual distance, or closer, every slice belongs to the nearer one, at a
    tie to the upper one. Where planes are farther apart, a plane covers half the usual distance
    below (included) to half above (excluded). The first plane reaches half a slice down; from
    there on there are as many slices as the planes span.
    """
    at = row * LEVELS + 1  # places are rounded: a slice midway between two planes is at a tie
    first = -(-(2 * drawn[0] - LEVELS - 2) // (2 * LEVELS))
    if not first <= row <= first + round((drawn[-1] - drawn[0]) / LEVELS):
        return None
    after = bisect.bisect_left(drawn, at)
    if after in (0, len(drawn)):
        return drawn[0] if after == 0 else drawn[-1]
    low, high = drawn[after - 1], drawn[after]
    nearest = high if high - at <= at - low else low
    usual = max(float(np.median(np.diff(drawn))), float(LEVELS))
    adjacent = high - low <= usual + 2
    return nearest if adjacent or -usual <= 2 * (at - nearest) < usual else None


def _by_level(
    contours: Sequence[Any], grid: Grid, structure: str
) -> dict[int, list[NDArray[np.float64]]]:
    """Polygons as (y, x) indices by their plane, in :data:`LEVELS` of the slice index."""
    levels: dict[int, list[NDArray[np.float64]]] = {}
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
        level = round(float(index[:, 0].mean()) * LEVELS)
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
