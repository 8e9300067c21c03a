"""Conversion to and from nibabel, whose images are (x, y, z) in RAS.

Separate from ``data/affine.py``, because everything that the readers import is part of every unit's
key.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from synthct.data.affine import RAS_TO_LPS, grid_from_columns, ras_affine
from synthct.data.errors import DataError, MachineError
from synthct.data.volume import Modality, Volume

if TYPE_CHECKING:
    from nibabel.nifti1 import Nifti1Image
    from nibabel.spatialimages import SpatialImage

_MILLIMETRES = {"unknown": 1.0, "mm": 1.0, "meter": 1000.0, "micron": 0.001}


def to_nibabel(volume: Volume) -> Nifti1Image:
    """The volume as a nibabel image with axes (X, Y, Z) that shares no memory with it.

    Voxels are kept exactly; bool becomes uint8 and float16 float32, which NIfTI lacks.
    The affine keeps its 64 bits in memory; nibabel saves 32 of them, so a file that has to be
    exact is written by :func:`synthct.data.writers.write_image`.

    Raises
    ------
    MachineError
        ``package-missing``: nibabel is not installed.
    """
    nibabel = _nibabel()
    kind = volume.array.dtype.str[1:]
    array = np.array(volume.array.T, dtype={"b1": "u1", "f2": "f4"}.get(kind), order="F")
    affine = ras_affine(volume.grid)
    image: Nifti1Image = nibabel.Nifti1Image(array, affine, dtype=array.dtype)
    image.header.set_xyzt_units("mm")
    # Both forms, for programs that know one; update_affine would round ours to 32 bits.
    image.set_sform(affine, code="scanner", update_affine=False)
    image.set_qform(affine, code="scanner", update_affine=False)
    return image


def from_nibabel(image: SpatialImage, modality: Modality) -> Volume:
    """A nibabel image with a RAS affine as a volume in LPS that shares no memory with it.

    The array is transposed to (Z, Y, X), its values are scaled by the header's slope and intercept;
    nothing is resampled.

    Raises
    ------
    DataError
        ``not-3d``: several values per voxel; ``no-orientation``: no affine; ``direction-skewed``:
        shear, which no grid of boxes has; ``spacing-not-positive``.
    """
    where = str(image.get_filename() or "the nibabel image")
    shape = tuple(image.shape)
    if len(shape) < 3 or any(size != 1 for size in shape[3:]):
        raise DataError(
            f"the image has the shape {shape}",
            rule="a scan has three axes and one value per voxel",
            where=where,
            remedy="give one volume, for example image.slicer[..., 0]",
            code="not-3d",
        )
    if image.affine is None:
        raise DataError(
            "the image has no affine",
            rule="an image has an orientation",
            where=where,
            remedy="give it the affine of the scan that it was made from",
            code="no-orientation",
        )
    affine = np.asarray(image.affine, dtype=float)
    columns = RAS_TO_LPS @ affine[:3] * _unit_mm(image)
    array = np.array(np.asanyarray(image.dataobj).reshape(shape[:3]).T, order="C")
    grid = grid_from_columns(
        array.shape, columns[:, :3] + 0.0, (columns[:, 3] + 0.0).tolist(), where
    )
    return Volume(array, grid, modality)


def _unit_mm(image: SpatialImage) -> float:
    """Unit of length of the affine [mm]; formats other than NIfTI use millimetres."""
    units = getattr(image.header, "get_xyzt_units", None)
    return _MILLIMETRES[units()[0]] if units is not None else 1.0


def _nibabel() -> Any:
    try:
        import nibabel
    except ModuleNotFoundError as error:
        raise MachineError(
            "nibabel is not installed",
            rule="images of nibabel need the package nibabel",
            remedy="pip install nibabel",
            code="package-missing",
        ) from error
    return nibabel
