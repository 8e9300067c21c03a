"""How a displacement squeezes, stretches and folds space."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.volume import Displacement, Grid

DETERMINANT_FLOOR = 1e-3
"""Folded voxels enter the logarithm as this determinant."""

SLAB = 32
"""Slices differentiated together: nine derivatives of a whole scan would not fit in memory."""


def jacobian_determinant(displacement: Displacement) -> NDArray[np.float64]:
    r"""Local volume ratio :math:`\det(I + \partial u / \partial x)`, (Z, Y, X) [1].

    Central differences inside, one-sided at the faces, divided by the spacing: exact for every
    affine map whatever the spacing. An oblique grid is handled by the chain rule.
    """
    return _by_slabs(displacement, lambda gradient: np.asarray(np.linalg.det(gradient)))


def strain(displacement: Displacement) -> NDArray[np.float64]:
    r"""Size of the Green strain :math:`\|(F^T F - I)/2\|_F`, :math:`F = I + \nabla u` [1].

    (Z, Y, X); 0 for every rigid motion, however large; a stretch by 1 % along one axis gives 0.01.

    References
    ----------
    Holzapfel, Nonlinear Solid Mechanics (2000), section 2.5.
    """
    return _by_slabs(displacement, _green)


def _green(gradient: NDArray[np.float64]) -> NDArray[np.float64]:
    green = (np.einsum("...ki,...kj->...ij", gradient, gradient) - np.eye(3)) / 2
    return np.asarray(np.sqrt((green**2).sum(axis=(-2, -1))))


def _by_slabs(
    displacement: Displacement, measure: Callable[[NDArray[np.float64]], NDArray[np.float64]]
) -> NDArray[np.float64]:
    """``measure`` of the deformation gradient (..., 3, 3), a few slices at a time."""
    grid = displacement.grid
    if min(grid.shape) < 2:
        raise ValueError(f"a Jacobian needs two voxels along each axis, got {grid.shape}")
    values = np.empty(grid.shape)
    for start in range(0, grid.shape[0], SLAB):
        stop = min(start + SLAB, grid.shape[0])
        # A neighbour on each side makes the slab's own slices central differences.
        low, high = max(0, start - 1), min(stop + 1, grid.shape[0])
        slab = measure(_gradient(displacement.vectors[:, low:high].astype(np.float64), grid))
        values[start:stop] = slab[start - low : stop - low]
    return values


def _gradient(u: NDArray[np.float64], grid: Grid) -> NDArray[np.float64]:
    """Deformation gradient I + grad u, (Z, Y, X, 3, 3)."""
    along_axes = np.stack(
        [np.gradient(u, step, axis=axis + 1) for axis, step in enumerate(grid.spacing_mm)]
    )
    # d/dx_j = sum_a direction[j, a] d/d(axis a): the axes may be oblique to the patient.
    gradient = np.einsum("ja,aizyx->zyxij", np.asarray(grid.direction), along_axes)
    gradient += np.eye(3)
    return np.asarray(gradient)


@dataclass(frozen=True)
class DeformationQuality:
    """Summary of a displacement inside a mask.

    Parameters
    ----------
    folding_percent
        Voxels with a determinant of at most 0 [%].
    sd_log_jacobian
        Standard deviation of log det, det floored at :data:`DETERMINANT_FLOOR` [1].
    determinant_p01, determinant_p99
        First and 99th percentile of the determinant [1].
    mean_mm, p95_mm, max_mm
        Length of the displacement [mm].
    """

    folding_percent: float
    sd_log_jacobian: float
    determinant_p01: float
    determinant_p99: float
    mean_mm: float
    p95_mm: float
    max_mm: float


def deformation_quality(displacement: Displacement, mask: NDArray[Any]) -> DeformationQuality:
    """Folding, roughness and size of the displacement inside ``mask`` (Z, Y, X)."""
    inside = np.asarray(mask) > 0
    if not inside.any():
        raise ValueError("the mask of a deformation's quality holds at least one voxel")
    determinant = jacobian_determinant(displacement)[inside]
    length = np.linalg.norm(displacement.vectors[:, inside].astype(np.float64), axis=0)
    return DeformationQuality(
        folding_percent=100.0 * float((determinant <= 0).mean()),
        sd_log_jacobian=float(np.log(np.maximum(determinant, DETERMINANT_FLOOR)).std()),
        determinant_p01=float(np.percentile(determinant, 1)),
        determinant_p99=float(np.percentile(determinant, 99)),
        mean_mm=float(length.mean()),
        p95_mm=float(np.percentile(length, 95)),
        max_mm=float(length.max()),
    )
