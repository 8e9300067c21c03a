"""Grids and frames: the working grid, a dilated mask, a rigid transform undone in the header."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from synthct.data.errors import DataError, mask_empty
from synthct.data.itk import (
    displacement_from_itk,
    displacement_to_itk,
    empty_like,
    grid_of,
    resample,
)
from synthct.data.volume import Displacement, Grid, Triple, Volume
from synthct.tasks.fields.slabs import grown_box, reach, slabs

MIN_VOXELS = 4
"""Minimum number of voxels along each axis of the working grid, for pyramids and Jacobians."""

DISTANCE_VOXELS = 2**22
"""Voxels of a slab in which distances are computed; large enough compared with its halo."""


def working_grid(source_body: Volume, spacing_mm: Triple, margin_mm: float) -> Grid:
    """The grid of the source at ``spacing_mm``, cropped to its body and a margin [mm].

    Raises
    ------
    DataError
        If the mask is empty or the grid is too thin to register on.
    """
    grid = source_body.grid.with_spacing(spacing_mm)
    inside = resample(source_body, grid, outside=0, nearest=True).array > 0
    if not inside.any():
        raise mask_empty("the body mask", "the working grid")
    return cropped(grid, inside, margin_mm)


def cropped(grid: Grid, inside: NDArray[np.bool_], margin_mm: float) -> Grid:
    """The grid cropped to the marked voxels (Z, Y, X) and a margin [mm].

    Raises
    ------
    DataError
        If it is too thin to register on.
    """
    start, stop = [], []
    for axis, (size, step) in enumerate(zip(grid.shape, grid.spacing_mm, strict=True)):
        others = tuple(other for other in range(3) if other != axis)
        occupied = np.flatnonzero(inside.any(axis=others))
        margin = int(np.ceil(margin_mm / step))
        start.append(max(0, int(occupied[0]) - margin))
        stop.append(min(size, int(occupied[-1]) + 1 + margin))
    around = grid.crop((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))
    require_extent(around)
    return around


def require_extent(grid: Grid) -> None:
    """Raise a DataError if the grid is too thin to register on."""
    if min(grid.shape) < MIN_VOXELS:
        raise DataError(
            f"the scan is too thin: shape {grid.shape} at {grid.spacing_mm} mm (z, y, x)",
            rule=f"registration needs at least {MIN_VOXELS} voxels along each axis",
            remedy="give a thicker scan or a finer grid_spacing_mm",
            code="extent-too-small",
        )


def grown(mask: NDArray[Any], spacing_mm: Triple, margin_mm: float) -> NDArray[np.uint8]:
    """The mask (Z, Y, X) dilated by ``margin_mm`` in every direction [mm]."""
    inside = np.asarray(mask) > 0
    near = inside.astype(np.uint8)
    if margin_mm <= 0 or not inside.any():
        return near
    halo = reach(margin_mm, spacing_mm)
    box = grown_box(inside, halo)
    # Voxels within the margin are in the halo of the slab. A distance map of a whole scan would
    # take 50 bytes per voxel.
    for slab in slabs(np.ones_like(inside[box]), halo, voxels=DISTANCE_VOXELS):
        distance = distance_transform_edt(~inside[box][slab.box], sampling=spacing_mm)
        near[box][slab.box][slab.here] = distance[slab.here] <= margin_mm
    return near


def centre_of_mass_mm(mask: Volume) -> Triple:
    """Centre (z, y, x) of a mask [mm]."""
    inside = np.asarray(mask.array) > 0
    counts = [inside.sum(axis=tuple(other for other in range(3) if other != a)) for a in range(3)]
    index = [float((np.arange(len(count)) * count).sum() / count.sum()) for count in counts]
    z, y, x = mask.grid.points(np.array(index))
    return float(z), float(y), float(x)


def in_fixed_frame(image: sitk.Image, rigid: sitk.Transform) -> sitk.Image:
    """The image transformed by the inverse of ``rigid`` (fixed -> moving), in its header only.

    ``in_fixed_frame(image, rigid)`` at ``x`` is ``image`` at ``rigid(x)``. No voxel is
    interpolated.
    """
    back = rigid.GetInverse()
    origin = np.asarray(back.TransformPoint((0.0, 0.0, 0.0)))
    # The columns of the matrix of the inverse are the images of the unit vectors.
    turn = np.stack([np.asarray(back.TransformPoint(tuple(e))) - origin for e in np.eye(3)], axis=1)
    placed = sitk.Image(image)
    placed.SetOrigin(back.TransformPoint(image.GetOrigin()))
    direction = turn @ np.asarray(image.GetDirection()).reshape(3, 3)
    placed.SetDirection(direction.ravel().tolist())
    return placed


def carried_back(volume: Volume, rigid: sitk.Transform) -> Volume:
    """As :func:`in_fixed_frame`, for a volume; the voxels are shared, not copied."""
    header = empty_like(replace(volume.grid, shape=(1, 1, 1)), sitk.sitkUInt8)
    moved = grid_of(in_fixed_frame(header, rigid))
    return replace(volume, grid=replace(moved, shape=volume.grid.shape))


def displacement_of(transform: sitk.Transform, grid: Grid) -> Displacement:
    """The transform as a displacement on the grid [mm]."""
    image = sitk.TransformToDisplacementField(
        transform,
        sitk.sitkVectorFloat32,
        tuple(reversed(grid.shape)),
        tuple(reversed(grid.origin_mm)),
        tuple(reversed(grid.spacing_mm)),
        np.asarray(grid.direction)[::-1, ::-1].ravel().tolist(),
    )
    return displacement_from_itk(image)


def displacement_on(displacement: Displacement, grid: Grid) -> Displacement:
    """A displacement interpolated linearly on another grid; 0 outside its own."""
    image = sitk.Resample(
        displacement_to_itk(displacement),
        empty_like(grid),
        sitk.Transform(3, sitk.sitkIdentity),
        sitk.sitkLinear,
        0.0,
        sitk.sitkVectorFloat64,
    )
    return displacement_from_itk(image)
