"""Resampling a few slices at a time, so that memory does not grow with the number of slices."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from synthct.data.itk import resample
from synthct.data.volume import Grid, Modality, Volume
from synthct.tasks.prediction.memory import slab_of

MIN_WEIGHT = 1e-3
"""Share of a voxel that must lie in the predicted body for the voxel to get a value [1]."""

_MARGIN = 2
"""Margin around the part that a slab reads [voxels]; linear interpolation needs one."""


def resample_slabs(volume: Volume, grid: Grid, *, outside: float, nearest: bool = False) -> Volume:
    """:func:`synthct.data.itk.resample`, slab by slab; bitwise identical for a grid of one slab."""
    if slab_of(grid) >= grid.shape[0]:
        return resample(volume, grid, outside=outside, nearest=nearest)
    values = np.empty(grid.shape, volume.array.dtype)
    for part, grid_of_part in _slabs(grid):
        near = _near(volume.grid, grid_of_part)
        if near is None:
            values[part] = outside
        else:
            piece = volume.crop(*near)
            values[part] = resample(piece, grid_of_part, outside=outside, nearest=nearest).array
    return Volume(values, grid, volume.modality)


def with_thin_parts(mask: Volume, body: Volume) -> Volume:
    """The mask, extended by the voxels of its grid nearest to body voxels that it does not reach.

    Parts of the body thinner than a voxel of the mask's grid (nose tip, ears, fingers) fall
    between its voxels: :func:`on_grid` would find no value for them.
    """
    wanted = np.asarray(mask.array) > 0
    size = np.asarray(wanted.shape)
    for part, grid in _slabs(body.grid):
        left_out = (np.asarray(body.array[part]) > 0) & ~_reached(mask, grid)
        if left_out.any():
            places = mask.grid.index(grid.points(np.argwhere(left_out)))
            nearest = np.clip(np.rint(places).astype(int), 0, size - 1)
            wanted[tuple(nearest.T)] = True
    return mask.with_array(wanted.astype(np.uint8))


def count_unreached(mask: Volume, body: Volume) -> int:
    """Body voxels for which :func:`on_grid` finds no value in the mask."""
    return sum(
        int(np.count_nonzero((np.asarray(body.array[part]) > 0) & ~_reached(mask, grid)))
        for part, grid in _slabs(body.grid)
    )


def _reached(mask: Volume, grid: Grid) -> NDArray[np.bool_]:
    """Voxels of ``grid`` at which linear interpolation uses a voxel of the mask."""
    near = _near(mask.grid, grid)
    if near is None:
        return np.zeros(grid.shape, bool)
    there = mask.crop(*near)
    inside = (np.asarray(there.array) > 0).astype(np.float32)
    weight = resample(there.with_array(inside, Modality.CT), grid, outside=0.0)
    return np.asarray(weight.array > MIN_WEIGHT)


def on_grid(
    values: NDArray[Any],
    mask: Volume,
    body: Volume,
    outside: float,
    dtype: DTypeLike = np.float32,
) -> NDArray[Any]:
    """Values on the mask's grid, inside the mask, as ``dtype`` on the body's grid.

    Linear, normalised by the mask (``resample(m v) / resample(m)``): at the skin a voxel is the
    mean of its neighbours inside the body alone, not of body and air. Whole-number types round.
    """
    filled = np.full(body.grid.shape, outside, dtype)
    whole = np.issubdtype(filled.dtype, np.integer)
    for part, grid in _slabs(body.grid):
        wanted = np.asarray(body.array[part]) > 0
        near = _near(mask.grid, grid)
        if near is None or not wanted.any():
            continue
        box = tuple(slice(a, b) for a, b in zip(*near, strict=True))
        there = mask.crop(*near)
        inside = np.asarray(there.array) > 0
        weighted = np.where(inside, values[box], 0).astype(np.float32)
        total = resample(there.with_array(weighted, Modality.CT), grid, outside=0.0).array
        ones = there.with_array(inside.astype(np.float32), Modality.CT)
        weight = resample(ones, grid, outside=0.0).array
        known = wanted & (weight > MIN_WEIGHT)
        found = total[known] / weight[known]
        filled[part][known] = np.rint(found) if whole else found
    return filled


def _slabs(grid: Grid) -> Iterator[tuple[slice, Grid]]:
    length, y, x = grid.shape
    step = slab_of(grid)
    for first in range(0, length, step):
        stop = min(length, first + step)
        yield slice(first, stop), grid.crop((first, 0, 0), (stop, y, x))


def _near(there: Grid, wanted: Grid) -> tuple[tuple[int, int, int], tuple[int, int, int]] | None:
    """(start, stop) of the voxels of ``there`` that ``wanted`` can read; None if there are none."""
    corners = np.array(list(product(*[(-0.5, size - 0.5) for size in wanted.shape])))
    index = there.index(wanted.points(corners))
    low = np.clip(np.floor(index.min(axis=0)).astype(int) - _MARGIN, 0, there.shape)
    high = np.clip(np.ceil(index.max(axis=0)).astype(int) + 1 + _MARGIN, 0, there.shape)
    if np.any(high <= low):
        return None
    return (int(low[0]), int(low[1]), int(low[2])), (int(high[0]), int(high[1]), int(high[2]))
