"""Axes of a volume permuted and flipped: every voxel keeps its value and its place."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthct.data.volume import Grid, Triple, Volume


def nearest_axes(grid: Grid) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """For each world axis (z, y, x): the array axis nearest to it, and its sign along it."""
    return _nearest(np.asarray(grid.direction))


def flipped(array: NDArray[Any], order: tuple[int, ...], signs: tuple[int, ...]) -> NDArray[Any]:
    """The last three axes of an array permuted and flipped; leading axes stay."""
    lead = array.ndim - 3
    turned_array = array.transpose(*range(lead), *(lead + axis for axis in order))
    steps = (slice(None),) * lead + tuple(slice(None, None, sign) for sign in signs)
    return turned_array[steps]


def turned(grid: Grid, order: tuple[int, ...], signs: tuple[int, ...]) -> Grid:
    """The grid of :func:`flipped` voxels: every voxel keeps its place."""
    direction = np.asarray(grid.direction)[:, order] * np.asarray(signs)
    start = np.zeros(3)
    for axis, sign in zip(order, signs, strict=True):
        start[axis] = 0 if sign > 0 else grid.shape[axis] - 1
    shape = tuple(grid.shape[axis] for axis in order)
    spacing = tuple(grid.spacing_mm[axis] for axis in order)
    rows = tuple(_triple(row) for row in direction)
    return Grid(
        (shape[0], shape[1], shape[2]),
        _triple(spacing),
        _triple(grid.points(start)),
        (rows[0], rows[1], rows[2]),
    )


def reordered_onto(volume: Volume, grid: Grid, tolerance_mm: float) -> Volume | None:
    """The same voxels in the order of ``grid``; None where they are not its voxels.

    Two files that hold one volume with its axes permuted or flipped differ in no voxel: nothing is
    interpolated. The result lies on ``grid`` itself, from which no corner of the volume's own
    grid is further than ``tolerance_mm``.
    """
    order, signs = _order_onto(volume.grid, grid)
    if not is_reordered(volume.grid, grid, tolerance_mm):
        return None
    array = np.ascontiguousarray(flipped(volume.array, order, signs))
    return Volume(array, grid, volume.modality)


def is_reordered(grid: Grid, other: Grid, tolerance_mm: float) -> bool:
    """Whether both grids have the same voxels, perhaps with axes permuted or flipped."""
    return turned(grid, *_order_onto(grid, other)).is_close(other, tolerance_mm)


def _order_onto(grid: Grid, other: Grid) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return _nearest(np.asarray(other.direction).T @ np.asarray(grid.direction))


def _nearest(cosines: NDArray[np.float64]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Nearest array axis (columns) for each target axis (rows)."""
    size = np.abs(cosines)
    order = max(permutations(range(3)), key=lambda p: sum(size[w, a] for w, a in enumerate(p)))
    return order, tuple(1 if cosines[w, a] > 0 else -1 for w, a in enumerate(order))


def _triple(values: Any) -> Triple:
    first, second, third = (float(value) for value in values)
    return first, second, third
