"""Overlap and surface distances of two segmentations of one structure."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

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

    The nearest voxel comes from a k-d tree of the other surface: a distance transform would find
    it for every voxel of the box, of which the surface is a few per cent.
    """
    box = _box(reference | prediction)
    a, b = (np.argwhere(_surface(mask[box])) for mask in (reference, prediction))
    return _to_nearest_mm(b, a, spacing_mm), _to_nearest_mm(a, b, spacing_mm)


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


def _to_nearest_mm(
    points: NDArray[np.int64], others: NDArray[np.int64], spacing_mm: Triple
) -> NDArray[np.float64]:
    """Distance [mm] of each of the voxels (n, 3) to the nearest of the others (m, 3)."""
    tree = cKDTree(others * np.asarray(spacing_mm), balanced_tree=False, compact_nodes=False)
    _, nearest = tree.query(points * np.asarray(spacing_mm))
    # From whole steps: a difference of two products would round otherwise.
    apart = (others[nearest] - points) * np.asarray(spacing_mm)
    return np.asarray(np.sqrt(np.square(apart).T.sum(axis=0)))


def _surface(mask: Mask) -> Mask:
    """Voxels of the mask with a 6-neighbour outside it or beyond the image."""
    inner = mask.copy()
    for axis in range(mask.ndim):
        inside, other = np.moveaxis(inner, axis, 0), np.moveaxis(mask, axis, 0)
        inside[1:] &= other[:-1]
        inside[:-1] &= other[1:]
        inside[[0, -1]] = False
    return mask & ~inner


def _box(mask: Mask) -> tuple[slice, ...]:
    sides = []
    for axis in range(mask.ndim):
        rest = tuple(other for other in range(mask.ndim) if other != axis)
        used = np.flatnonzero(mask.any(axis=rest))
        sides.append(slice(int(used[0]), int(used[-1]) + 1))
    return tuple(sides)
