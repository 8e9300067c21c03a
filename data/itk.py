"""Conversion to and from ITK, whose vectors are (x, y, z)."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from synthct.data.errors import DataError
from synthct.data.volume import Displacement, Grid, Modality, Volume


@contextlib.contextmanager
def in_folder(folder: Path) -> Iterator[str]:
    """A path of an existing folder that ITK can write to.

    SimpleITK takes UTF-8 text; another name aborts the process in C++ (``std::logic_error``). Such
    a folder is opened and addressed through ``/proc/self/fd``.
    """
    try:
        str(folder).encode()
    except UnicodeEncodeError:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            yield f"/proc/self/fd/{handle}"
        finally:
            os.close(handle)
    else:
        yield str(folder)


def to_itk(volume: Volume) -> sitk.Image:
    """The volume as a SimpleITK image that shares no memory with it."""
    array = np.ascontiguousarray(volume.array, dtype=_itk_type(volume.array.dtype))
    image = sitk.GetImageFromArray(array)
    place(image, volume.grid)
    return image


def _itk_type(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Data type for ITK, which has no booleans, half floats or foreign byte orders."""
    if dtype == np.bool_:
        return np.dtype(np.uint8)
    return np.dtype(np.float32) if dtype.str.endswith("f2") else dtype.newbyteorder("=")


def from_itk(image: sitk.Image, modality: Modality) -> Volume:
    """A scalar 3-D SimpleITK image as a volume."""
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        raise DataError(
            f"the image has {image.GetDimension()} axes and "
            f"{image.GetNumberOfComponentsPerPixel()} values per voxel",
            rule="a scan has three axes and one value per voxel",
            remedy="give one volume per file",
            code="not-3d",
        )
    return Volume(sitk.GetArrayFromImage(image), grid_of(image), modality)


def displacement_to_itk(displacement: Displacement, dtype: Any = np.float64) -> sitk.Image:
    """The field as a vector image in ITK's component order (x, y, z) [mm].

    ITK's transforms take double precision.
    """
    vectors = np.moveaxis(displacement.vectors[::-1], 0, -1)
    image = sitk.GetImageFromArray(np.ascontiguousarray(vectors, dtype=dtype), isVector=True)
    place(image, displacement.grid)
    return image


def displacement_from_itk(image: sitk.Image) -> Displacement:
    """A vector image of ITK displacements (x, y, z) [mm] as a field."""
    vectors = np.moveaxis(sitk.GetArrayViewFromImage(image), -1, 0)[::-1]
    return Displacement(np.array(vectors, dtype=np.float32, order="C"), grid_of(image))


def place(image: sitk.Image, grid: Grid) -> None:
    """Write the grid's spacing, origin and direction into the image."""
    image.SetSpacing(tuple(reversed(grid.spacing_mm)))
    image.SetOrigin(tuple(reversed(grid.origin_mm)))
    image.SetDirection(np.asarray(grid.direction)[::-1, ::-1].ravel().tolist())


def grid_of(image: sitk.Image) -> Grid:
    """The grid of an ITK image, in (z, y, x) order."""
    x, y, z = image.GetSize()
    matrix = np.asarray(image.GetDirection()).reshape(3, 3)[::-1, ::-1]
    a, b, c = (tuple(float(v) for v in row) for row in matrix)
    sx, sy, sz = image.GetSpacing()
    ox, oy, oz = image.GetOrigin()
    return Grid((z, y, x), (sz, sy, sx), (oz, oy, ox), (a, b, c))  # type: ignore[arg-type]


def empty_like(grid: Grid, pixel_type: int = sitk.sitkFloat32) -> sitk.Image:
    """A reference image on the grid, for ITK resampling filters."""
    image = sitk.Image(*reversed(grid.shape), pixel_type)
    place(image, grid)
    return image


def resample(
    volume: Volume,
    grid: Grid,
    *,
    transform: sitk.Transform | None = None,
    outside: float,
    nearest: bool = False,
) -> Volume:
    """The volume on another grid, linear or nearest, ``outside`` where it has no voxels.

    ``transform`` maps points of ``grid`` to points of the volume (the ITK direction).
    """
    whole = volume.array.dtype.kind in "biu"
    # ITK cuts off decimals when it interpolates integers, which darkens a CT by half a HU.
    as_float = volume.with_array(volume.array.astype(np.float32)) if whole else volume
    image = sitk.Resample(
        to_itk(volume if nearest else as_float),
        empty_like(grid, sitk.sitkUInt8),
        transform or sitk.Transform(3, sitk.sitkIdentity),
        sitk.sitkNearestNeighbor if nearest else sitk.sitkLinear,
        outside,
    )
    array = sitk.GetArrayFromImage(image)
    if whole and not nearest and volume.array.dtype != np.bool_:
        limits = np.iinfo(volume.array.dtype)
        array = np.clip(np.rint(array), limits.min, limits.max).astype(volume.array.dtype)
    return Volume(array, grid, volume.modality)
