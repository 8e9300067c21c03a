"""The grid for prediction, which covers every voxel of the body."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from synthct.data.errors import mask_empty
from synthct.data.volume import Grid, Triple, Volume
from synthct.tasks.fields.geometry import cropped
from synthct.tasks.prediction.slab_resampling import resample_slabs, with_thin_parts

COVER_MM = 1e-3
"""A voxel centre this close to the outer face of a grid counts as outside [mm]: ITK returns no
value on the face itself, and rounding decides on which side of it a centre lies."""

MIN_MARGIN_MM = 1e-3
"""Minimum margin [mm], which adds one voxel around the body: a body voxel between two grid voxels
must not lie beyond the last one."""


def prediction_grid(upright: Volume, body: Volume, spacing_mm: Triple, margin_mm: float) -> Grid:
    """Grid at ``spacing_mm`` that covers all body voxels of the scan and a margin.

    The working grid of registration, on which the network was trained, may end half a voxel inside
    the scan's box at each face. This grid equals it wherever no body voxel would be lost.

    Parameters
    ----------
    upright
        Body mask on the axes-aligned grid.
    body
        Body mask on the scan's own grid: the voxels to predict.
    spacing_mm, margin_mm
        The model's voxel size (z, y, x) and margin [mm].
    """
    grid = covering_grid(upright.grid, spacing_mm)
    inside = with_thin_parts(resample_slabs(upright, grid, outside=0, nearest=True), body)
    if not np.any(inside.array):
        raise mask_empty("the body mask within the scan", "")
    return cropped(grid, np.asarray(inside.array) > 0, max(margin_mm, MIN_MARGIN_MM))


def covering_grid(grid: Grid, spacing_mm: Triple) -> Grid:
    """:meth:`~synthct.data.volume.Grid.with_spacing`, one voxel longer where that is too short.

    Along an axis of length ``L`` and step ``d`` [mm], ``n`` voxels of ``s`` hold the centres of all
    voxels of the scan if ``n s > L - d``. One voxel more reaches less than half a voxel beyond the
    scan's faces, so that each centre of the new grid still lies within the scan.
    """
    close = grid.with_spacing(spacing_mm)
    centres_mm = np.asarray(grid.extent_mm) - np.asarray(grid.spacing_mm)
    short = np.asarray(close.extent_mm) <= centres_mm + 2 * COVER_MM
    if not short.any():
        return close
    shape = np.asarray(close.shape) + short
    half_mm = np.asarray(spacing_mm) * (shape - 1) / 2
    origin = np.asarray(grid.centre_mm) - np.asarray(grid.direction) @ half_mm
    nz, ny, nx = (int(size) for size in shape)
    z, y, x = (float(value) for value in origin)
    return replace(close, shape=(nz, ny, nx), origin_mm=(z, y, x))
