"""Where things lie: the working grid, the body grown by a margin, a scan in another frame."""

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

FEWEST_VOXELS = 4
"""Along each axis of the working grid: below it neither a pyramid nor a Jacobian means anything."""

DISTANCE_VOXELS = 2**22
"""Of a slab in which distances are measured: its halo should not be most of it."""


def working_grid(source_body: Volume, spacing_mm: Triple, margin_mm: float) -> Grid:
    """The source's box at ``spacing_mm``, cropped to its body and a margin."""
    grid = source_body.grid.with_spacing(spacing_mm)
    inside = resample(source_body, grid, outside=0, nearest=True).array > 0
    if not inside.any():
        raise mask_empty("the body mask", "the working grid")
    return cropped(grid, inside, margin_mm)


def cropped(grid: Grid, inside: NDArray[np.bool_], margin_mm: float) -> Grid:
    """The grid around the marked voxels and a margin [mm]; one too thin is refused."""
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
    """Refuse a grid too thin to register on."""
    if min(grid.shape) < FEWEST_VOXELS:
        raise DataError(
            f"a registration has at least {FEWEST_VOXELS} voxels along each axis",
            problem=f"the scan is too thin: shape {grid.shape} at {grid.spacing_mm} mm (z, y, x)",
            remedy="give a thicker scan or a finer grid_spacing_mm",
            code="extent-too-small",
        )


def grown(mask: NDArray[Any], spacing_mm: Triple, margin_mm: float) -> NDArray[np.uint8]:
    """The mask grown by ``margin_mm`` in every direction [mm]."""
    inside = np.asarray(mask) > 0
    near = inside.astype(np.uint8)
    if margin_mm <= 0 or not inside.any():
        return near
    halo = reach(margin_mm, spacing_mm)
    box = grown_box(inside, halo)
    # What is nearest within the margin lies in the slab's halo; a distance map of a whole scan
    # takes 50 bytes a voxel while it is made.
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
    """The image carried by the inverse of ``rigid`` (fixed -> moving) without touching a voxel.

    ``in_fixed_frame(image, rigid)`` at ``x`` is ``image`` at ``rigid(x)``: a rigid step is undone
    in the header, so that nothing is interpolated twice.
    """
    back = rigid.GetInverse()
    origin = np.asarray(back.TransformPoint((0.0, 0.0, 0.0)))
    # Columns of the inverse's matrix: where the unit vectors go.
    turn = np.stack([np.asarray(back.TransformPoint(tuple(e))) - origin for e in np.eye(3)], axis=1)
    placed = sitk.Image(image)
    placed.SetOrigin(back.TransformPoint(image.GetOrigin()))
    direction = turn @ np.asarray(image.GetDirection()).reshape(3, 3)
    placed.SetDirection(direction.ravel().tolist())
    return placed


def carried_back(volume: Volume, rigid: sitk.Transform) -> Volume:
    """The same of a volume, which shares its voxels with the one given."""
    header = empty_like(replace(volume.grid, shape=(1, 1, 1)), sitk.sitkUInt8)
    moved = grid_of(in_fixed_frame(header, rigid))
    return replace(volume, grid=replace(moved, shape=volume.grid.shape))


def displacement_of(transform: sitk.Transform, grid: Grid) -> Displacement:
    """The transform as a field on the grid [mm]."""
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
    """A displacement sampled linearly on another grid; 0 outside its own."""
    image = sitk.Resample(
        displacement_to_itk(displacement),
        empty_like(grid),
        sitk.Transform(3, sitk.sitkIdentity),
        sitk.sitkLinear,
        0.0,
        sitk.sitkVectorFloat64,
    )
    return displacement_from_itk(image)
