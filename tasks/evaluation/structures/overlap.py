"""Overlap and surface distances of two segmentations of one structure."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion, distance_transform_edt

from synthct.tasks.evaluation.pair import Mask

Triple = tuple[float, float, float]

ROUNDING_MM = 1e-6
"""Tolerance for rounding [mm]: five voxels of 0.4 mm give 2.0000000000000004."""


def dice(reference: Mask, prediction: Mask) -> float | None:
    r"""Dice coefficient :math:`2|A \cap B| / (|A| + |B|)`; None if both are empty."""
    total = int(np.count_nonzero(reference)) + int(np.count_nonzero(prediction))
    if total == 0:
        return None
    return 2 * int(np.count_nonzero(reference & prediction)) / total


def surface_distances_mm(
    reference: Mask, prediction: Mask, spacing_mm: Triple
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Distance [mm] of each surface voxel to the other surface: of the prediction, the reference.

    The surface is every voxel with a 6-neighbour outside (beyond the image counts as outside);
    distances are between voxel centres, so anisotropic spacing counts. Both must be non-empty.
    """
    box = _box(reference | prediction)
    a, b = _surface(reference[box]), _surface(prediction[box])
    to_a = distance_transform_edt(~a, sampling=spacing_mm)
    to_b = distance_transform_edt(~b, sampling=spacing_mm)
    return np.asarray(to_a[b]), np.asarray(to_b[a])


def hd95_mm(distances: tuple[NDArray[Any], NDArray[Any]]) -> float:
    """The larger of the two directed 95th percentiles [mm]."""
    return float(max(np.percentile(one, 95) for one in distances))


def surface_dice(distances: tuple[NDArray[Any], NDArray[Any]], tolerance_mm: float) -> float:
    """Fraction of both surfaces within the tolerance of the other one (counted in voxels).

    References
    ----------
    Nikolov et al., J Med Internet Res 23 (2021) e26151 (there with surface elements as weights).
    """
    near = sum(int(np.count_nonzero(one <= tolerance_mm + ROUNDING_MM)) for one in distances)
    return near / sum(one.size for one in distances)


def diagonal_mm(shape: tuple[int, ...], spacing_mm: Triple) -> float:
    """Length of the image's diagonal [mm]: the penalty for a structure that is missing."""
    return float(np.linalg.norm(np.asarray(shape) * np.asarray(spacing_mm)))


def _surface(mask: Mask) -> Mask:
    return mask & ~binary_erosion(mask, border_value=0)


def _box(mask: Mask) -> tuple[slice, ...]:
    sides = []
    for axis in range(mask.ndim):
        rest = tuple(other for other in range(mask.ndim) if other != axis)
        used = np.flatnonzero(mask.any(axis=rest))
        sides.append(slice(int(used[0]), int(used[-1]) + 1))
    return tuple(sides)
