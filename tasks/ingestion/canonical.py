"""The orientation of all stored volumes: array axes along z (head), y (back), x (left)."""

from __future__ import annotations

from typing import Any

import numpy as np

from synthct.data.itk import resample
from synthct.data.orientation import flipped, nearest_axes, turned
from synthct.data.volume import Grid, Modality, Triple, Volume

UPRIGHT_MM = 0.05
"""A grid counts as axes-aligned when straightening it moves no corner further than this."""

OUTSIDE = {Modality.CT: -1024.0, Modality.CBCT: -1024.0}
"""Value outside the field of view of a resampled volume; 0 for the other modalities."""


def canonical(volume: Volume) -> tuple[Volume, bool]:
    """The volume on an LPS axes-aligned grid, and whether it had to be resampled.

    A grid whose directions are signed unit vectors (within ``UPRIGHT_MM`` at its corners) is only
    flipped and transposed, which changes no voxel value. An oblique one is resampled (linear;
    masks and labels nearest) onto the axes-aligned box around it, with its own spacings.
    """
    upright = reoriented(volume)
    straight = straightened(upright.grid)
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in straight.shape])).reshape(3, -1).T
    moved_mm = np.linalg.norm(straight.points(corners) - upright.grid.points(corners), axis=1)
    if moved_mm.max() <= UPRIGHT_MM:
        return Volume(upright.array, straight, volume.modality), False
    box = enclosing(upright.grid)
    nearest = volume.modality in (Modality.MASK, Modality.LABELS)
    outside = OUTSIDE.get(volume.modality, 0.0)
    return resample(upright, box, outside=outside, nearest=nearest), True


def stored_type(volume: Volume) -> Volume:
    """CT, CBCT as int16 HU; MR, dose as float32; masks, labels as the smallest unsigned type."""
    array = volume.array
    if volume.modality in (Modality.MR, Modality.DOSE):
        return volume.with_array(array.astype(np.float32))
    kind: type[np.integer[Any]] = np.int16
    if volume.modality in (Modality.MASK, Modality.LABELS):
        kind = np.uint8 if array.max() <= 255 else np.uint16
    limits = np.iinfo(kind)
    rounded = array if array.dtype.kind in "iub" else np.rint(array)
    return volume.with_array(np.clip(rounded, limits.min, limits.max).astype(kind))


def reoriented(volume: Volume) -> Volume:
    """Axes permuted and flipped so that each points along its nearest world axis; no resampling."""
    order, signs = nearest_axes(volume.grid)
    array = flipped(volume.array, order, signs)
    return Volume(np.ascontiguousarray(array), turned(volume.grid, order, signs), volume.modality)


def straightened(grid: Grid) -> Grid:
    """The grid with exactly axes-aligned directions and the same centre."""
    half = np.asarray(grid.spacing_mm) * (np.asarray(grid.shape) - 1) / 2
    if np.array_equal(np.asarray(grid.direction), np.eye(3)):
        return grid
    return Grid(grid.shape, grid.spacing_mm, _triple(np.asarray(grid.centre_mm) - half))


def enclosing(grid: Grid) -> Grid:
    """The smallest axes-aligned grid with the same spacings that covers all voxel centres."""
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in grid.shape])).reshape(3, -1).T
    points = grid.points(corners)
    low, high = points.min(axis=0), points.max(axis=0)
    shape = np.ceil((high - low) / np.asarray(grid.spacing_mm) - 1e-6).astype(int) + 1
    return Grid((int(shape[0]), int(shape[1]), int(shape[2])), grid.spacing_mm, _triple(low))


def _triple(values: Any) -> Triple:
    first, second, third = (float(value) for value in values)
    return first, second, third
