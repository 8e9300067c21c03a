"""Results of a registration: the transform file, and the error where the truth is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from synthct.data.itk import in_folder
from synthct.data.volume import Displacement, Grid

TEXT, BINARY = "transform.tfm", "transform.h5"
"""File names: text for few parameters, HDF5 for a dense field (gigabytes as text)."""


def write_transform(folder: Path, transform: sitk.Transform) -> str:
    """Write ``transform.tfm`` or, for a dense field, ``transform.h5``; returns the file name."""
    name = BINARY if is_dense(transform) else TEXT
    with in_folder(folder) as spelled:
        sitk.WriteTransform(transform, f"{spelled}/{name}")
    return name


def is_dense(transform: sitk.Transform) -> bool:
    """Whether it holds a vector for every voxel, which ITK stores as three doubles each."""
    plain = transform.Downcast()
    if isinstance(plain, sitk.CompositeTransform):
        return any(is_dense(plain.GetNthTransform(n)) for n in range(plain.GetNumberOfTransforms()))
    return isinstance(plain, sitk.DisplacementFieldTransform)


def mean_error_mm(found: Displacement, truth: Displacement, mask: NDArray[Any]) -> float:
    """Mean length of ``found - truth`` inside ``mask`` [mm]."""
    inside = np.asarray(mask) > 0
    difference = found.vectors[:, inside].astype(np.float64) - truth.vectors[:, inside]
    return float(np.linalg.norm(difference, axis=0).mean())


def rigid_part(displacement: Displacement, mask: NDArray[Any]) -> Displacement:
    r"""The least-squares rigid fit to the displacement inside ``mask``, on the whole grid.

    Minimises :math:`\sum |R x + t - (x + u(x))|^2` by singular value decomposition.

    References
    ----------
    Arun, Huang & Blostein, IEEE TPAMI 9 (1987) 698-700.
    """
    inside = np.asarray(mask) > 0
    everywhere = _points(displacement.grid)
    x = everywhere[:, inside]
    y = x + displacement.vectors[:, inside]
    x_centre, y_centre = x.mean(axis=1, keepdims=True), y.mean(axis=1, keepdims=True)
    left, _, right = np.linalg.svd((y - y_centre) @ (x - x_centre).T)
    mirror = np.diag([1.0, 1.0, np.sign(np.linalg.det(left @ right))])
    rotation = left @ mirror @ right
    flat = everywhere.reshape(3, -1)
    moved = rotation @ (flat - x_centre) + y_centre
    return Displacement(
        (moved - flat).reshape(everywhere.shape).astype(np.float32), displacement.grid
    )


def _points(grid: Grid) -> NDArray[np.float64]:
    """Points (3, Z, Y, X) [mm] of all voxels."""
    return np.moveaxis(grid.points(np.moveaxis(np.indices(grid.shape), 0, -1)), -1, 0)
