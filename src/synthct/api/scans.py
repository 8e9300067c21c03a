"""Read and write scans; convert from and to numpy, SimpleITK and nibabel."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from synthct.api.arguments import PathLike, as_modality, as_path
from synthct.data.volume import IDENTITY, Displacement, Grid, Modality, Volume

if TYPE_CHECKING:
    import SimpleITK as sitk
    from nibabel.nifti1 import Nifti1Image
    from nibabel.spatialimages import SpatialImage


def read(path: PathLike, modality: Modality | str | None = None, *, series: str = "") -> Volume:
    """Read a scan: DICOM folder or zip, NIfTI, MetaImage, NRRD or OME-Zarr.

    The file is parsed strictly, in a confined process: damaged, ambiguous or incomplete files raise
    an error, and nothing is guessed.

    Parameters
    ----------
    path
        File or folder.
    modality
        ``"CT"``, ``"MR"``, ``"CBCT"``, ``"MASK"``, ``"LABELS"`` or ``"DOSE"``. DICOM files state
        it; for other formats it is required.
    series
        Number, description or UID, if a DICOM folder or zip holds several volumes.

    Returns
    -------
    Volume
        Array (Z, Y, X), HU for CT and cone-beam CT, arbitrary units for MR; grid [mm, LPS].

    Raises
    ------
    DataError
        There is no such file, or it is damaged or incomplete.
    UsageError
        Its modality is unknown.

    Examples
    --------
    >>> import synthct
    >>> mr = synthct.read("mr.nii.gz", "MR")
    >>> mr.array.shape, mr.grid.spacing_mm, mr.unit
    ((30, 48, 48), (5.0, 4.0, 4.0), 'a.u.')
    """
    from synthct.data.readers import pick_series, read_scan

    source, measured = as_path(path), as_modality(modality, "modality")
    chosen = pick_series(source, series, [measured] if measured else [])
    return read_scan(source, measured, series=chosen)


def read_displacement(path: PathLike) -> Displacement:
    """Read a displacement that :func:`write` or ``synthct register`` wrote (``.mha``) [mm, LPS].

    Examples
    --------
    >>> import numpy, synthct
    >>> grid = synthct.Grid((2, 3, 4), (3.0, 1.0, 1.0))
    >>> zero = synthct.Displacement(numpy.zeros((3, 2, 3, 4), "float32"), grid)
    >>> synthct.read_displacement(synthct.write(zero, "zero.mha")).grid == grid
    True
    """
    from synthct.data.readers import read_displacement_image

    return read_displacement_image(as_path(path))


def write(image: Volume | Displacement, path: PathLike) -> Path:
    """Write an image file, completely or not at all; returns its path.

    Parameters
    ----------
    image
        A volume, or a displacement: a vector image in ITK's order (x, y, z) [mm, LPS].
    path
        Ends in ``.mha``, ``.nii.gz``, ``.nii`` or ``.nrrd``. Voxels and geometry are kept exactly.

    Raises
    ------
    UsageError
        ``unknown-suffix``.
    MachineError
        ``disk-full``.

    Examples
    --------
    >>> import synthct
    >>> mr = synthct.read("mr.nii.gz", "MR")
    >>> synthct.write(mr, "copy.mha").name
    'copy.mha'
    """
    from synthct.data.writers import write_displacement_image, write_image

    target = as_path(path)
    if isinstance(image, Displacement):
        write_displacement_image(target, image)
    else:
        write_image(target, image)
    return target


def from_numpy(
    array: ArrayLike,
    modality: Modality | str,
    *,
    spacing_mm: Sequence[float],
    origin_mm: Sequence[float] = (0.0, 0.0, 0.0),
    direction: ArrayLike = IDENTITY,
) -> Volume:
    """A copy of an array as a volume.

    Parameters
    ----------
    array
        Shape (Z, Y, X).
    modality
        Modality of the values.
    spacing_mm
        Distance of voxel centres along (z, y, x) [mm].
    origin_mm
        Centre of voxel (0, 0, 0) as (z, y, x) [mm, LPS].
    direction
        Orthonormal 3 x 3, rows and columns in (z, y, x) order.

    Raises
    ------
    DataError
        ``not-3d``, ``spacing-not-positive``, ``direction-skewed``, ``dtype-not-real``.

    Examples
    --------
    >>> import numpy, synthct
    >>> water = synthct.from_numpy(numpy.zeros((4, 5, 6)), "CT", spacing_mm=(3, 1, 1))
    >>> water.grid.extent_mm
    (12.0, 5.0, 6.0)
    """
    values = np.array(array)
    rows = np.asarray(direction, dtype=float).tolist()
    grid = Grid(
        tuple(int(size) for size in values.shape),  # type: ignore[arg-type]
        tuple(float(step) for step in spacing_mm),  # type: ignore[arg-type]
        tuple(float(start) for start in origin_mm),  # type: ignore[arg-type]
        tuple(map(tuple, rows)),  # type: ignore[arg-type]
    )
    return Volume(values, grid, as_modality(modality, "modality"))


def to_numpy(volume: Volume) -> NDArray[Any]:
    """A writable copy of the voxels, shape (Z, Y, X); ``volume.array`` is a read-only view.

    Examples
    --------
    >>> import synthct
    >>> array = synthct.to_numpy(synthct.read("mr.nii.gz", "MR"))
    >>> array[array < 0] = 0
    """
    return np.array(volume.array)


def from_sitk(image: sitk.Image, modality: Modality | str) -> Volume:
    """A scalar 3-D SimpleITK image as a volume, without resampling or reorientation.

    Raises
    ------
    DataError
        ``not-3d``: the image has not three axes, or several values per voxel.

    Examples
    --------
    >>> import SimpleITK, synthct
    >>> image = SimpleITK.ReadImage("mr.nii.gz")
    >>> synthct.from_sitk(image, "MR").grid.spacing_mm
    (5.0, 4.0, 4.0)
    """
    from synthct.data.itk import from_itk

    return from_itk(image, as_modality(modality, "modality"))


def to_sitk(image: Volume | Displacement) -> sitk.Image:
    """A SimpleITK image that shares no memory with ``image``; a displacement as a vector image.

    Booleans become uint8, half floats float32. The vectors are float64 in ITK's order (x, y, z)
    [mm], as ``SimpleITK.DisplacementFieldTransform`` expects them.

    Examples
    --------
    >>> import synthct
    >>> synthct.to_sitk(synthct.read("mr.nii.gz", "MR")).GetSize()
    (48, 48, 30)
    """
    from synthct.data.itk import displacement_to_itk, to_itk

    return displacement_to_itk(image) if isinstance(image, Displacement) else to_itk(image)


def from_nibabel(image: SpatialImage, modality: Modality | str) -> Volume:
    """A nibabel image, RAS (X, Y, Z), as a volume, LPS (Z, Y, X); nothing is resampled.

    Raises
    ------
    DataError
        ``direction-skewed``: the affine contains shear; ``not-3d``; ``no-orientation``;
        ``spacing-not-positive``.

    Examples
    --------
    >>> import nibabel, synthct
    >>> synthct.from_nibabel(nibabel.load("mr.nii.gz"), "MR").grid.shape
    (30, 48, 48)
    """
    from synthct.data import nibabel_images

    return nibabel_images.from_nibabel(image, as_modality(modality, "modality"))


def to_nibabel(volume: Volume) -> Nifti1Image:
    """A nibabel NIfTI image, RAS (X, Y, Z), that shares no memory with the volume.

    Examples
    --------
    >>> import synthct
    >>> synthct.to_nibabel(synthct.read("mr.nii.gz", "MR")).affine[0].tolist()
    [-4.0, 0.0, 0.0, 90.0]
    """
    from synthct.data import nibabel_images

    return nibabel_images.to_nibabel(volume)
