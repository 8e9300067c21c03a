"""A raster of the CT day seen on another day's grid, with the partial volumes of its voxels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from synthct.data.phantom.deformation import Deformation, grid_axes
from synthct.data.volume import Grid

Floats = NDArray[np.float32]

SAME_DAY = Deformation(bumps=(), rotation=np.eye(3), shift_mm=np.zeros(3))
"""No motion: the CT itself."""


def subsamples(grid: Grid, raster: Grid) -> tuple[int, int, int]:
    """How many points along each axis of a voxel are averaged: about one a raster step."""
    z, y, x = (
        max(1, round(voxel / fine))
        for voxel, fine in zip(grid.spacing_mm, raster.spacing_mm, strict=True)
    )
    return z, y, x


def sample(
    rasters: Floats,
    raster_grid: Grid,
    grid: Grid,
    deformation: Deformation,
    *,
    slab: int = 8,
) -> Floats:
    """Mean of each raster (C, Z, Y, X) over each voxel of ``grid``: (C, Z, Y, X).

    Linear interpolation at subsamples of the voxel; beyond the raster its edge continues.
    Works through ``slab`` slices at a time to bound the memory.
    """
    source = torch.from_numpy(np.ascontiguousarray(rasters, dtype=np.float32))[None]
    parts = subsamples(grid, raster_grid)
    z_axis, y_axis, x_axis = grid_axes(grid, parts)
    found = np.empty((len(rasters), *grid.shape), np.float32)
    for start in range(0, grid.shape[0], slab):
        stop = min(start + slab, grid.shape[0])
        axes = (z_axis[start * parts[0] : stop * parts[0]], y_axis, x_axis)
        place = _normalised(deformation.points(axes), raster_grid)
        fine = torch.nn.functional.grid_sample(
            source, place, mode="bilinear", padding_mode="border", align_corners=True
        )
        found[:, start:stop] = torch.nn.functional.avg_pool3d(fine, parts)[0].numpy()
    return found


def sample_labels(
    labels: NDArray[np.uint8], raster_grid: Grid, grid: Grid, deformation: Deformation
) -> NDArray[np.uint8]:
    """The label at each voxel's centre."""
    place = deformation.points(grid_axes(grid))
    index = []
    for i in range(3):
        step = np.rint((place[i] - raster_grid.origin_mm[i]) / raster_grid.spacing_mm[i])
        index.append(np.clip(step, 0, raster_grid.shape[i] - 1).astype(np.int32))
    return np.asarray(labels[index[0], index[1], index[2]])


def _normalised(
    points: Sequence[NDArray[np.float64]] | NDArray[np.float64], grid: Grid
) -> torch.Tensor:
    """Points (3, Z, Y, X) [mm] in grid_sample's coordinates (x, y, z) in [-1, 1]."""
    scaled = [
        ((points[i] - grid.origin_mm[i]) / (grid.spacing_mm[i] * (grid.shape[i] - 1)) * 2 - 1)
        for i in (2, 1, 0)
    ]
    return torch.from_numpy(np.stack(scaled, axis=-1).astype(np.float32))[None]
