"""Jacobian determinant, strain and length of a displacement, and a summary of them in a mask."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthct.data.volume import Displacement
from synthct.tasks.fields.slabs import Slab, slabs

DETERMINANT_FLOOR = 1e-3
"""Smallest determinant that enters the logarithm."""


def jacobian_determinant(displacement: Displacement) -> NDArray[np.float64]:
    r"""Local volume ratio :math:`\det(I + \partial u / \partial x)`, (Z, Y, X) [1].

    Central differences inside, one-sided at the faces, divided by the spacing: exact for every
    affine map whatever the spacing. An oblique grid is handled by the chain rule.
    """
    shape = displacement.grid.shape
    return determinants(displacement, np.ones(shape, bool)).reshape(shape)


def determinants(displacement: Displacement, inside: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The same at the voxels of a mask only, (N,) [1]."""
    found = [np.linalg.det(gradient) for gradient in _gradients(displacement, inside)]
    return np.concatenate(found) if found else np.empty(0)


def strain(displacement: Displacement, inside: NDArray[np.bool_]) -> NDArray[np.float64]:
    r"""Norm of the Green strain :math:`\|(F^T F - I)/2\|_F`, :math:`F = I + \nabla u` [1].

    At the voxels of a mask, (N,); 0 for every rigid motion, however large; a stretch by 1 % along
    one axis gives 0.01.

    References
    ----------
    Holzapfel, Nonlinear Solid Mechanics (2000), section 2.5.
    """
    found = [_green(gradient) for gradient in _gradients(displacement, inside)]
    return np.concatenate(found) if found else np.empty(0)


def lengths(displacement: Displacement, inside: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Length of the displacement at the voxels of a mask, (N,) [mm]."""
    found = [
        np.linalg.norm(_cut(displacement, slab).astype(np.float64), axis=0)
        for slab in slabs(inside, (0, 0, 0))
    ]
    return np.concatenate(found) if found else np.empty(0)


def lengths_beyond(
    displacement: Displacement, rigid: Displacement, inside: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Length of the difference to the displacement of the rigid transform, (N,) [mm]."""
    found = [
        np.linalg.norm(_cut(displacement, slab) - _cut(rigid, slab), axis=0)
        for slab in slabs(inside, (0, 0, 0))
    ]
    return np.concatenate(found) if found else np.empty(0, np.float32)


def _cut(displacement: Displacement, slab: Slab) -> NDArray[np.float32]:
    return np.asarray(displacement.vectors[:, *slab.box][:, slab.here])


def _green(gradient: NDArray[np.float64]) -> NDArray[np.float64]:
    green = (np.einsum("...ki,...kj->...ij", gradient, gradient) - np.eye(3)) / 2
    return np.asarray(np.sqrt((green**2).sum(axis=(-2, -1))))


def _gradients(
    displacement: Displacement, inside: NDArray[np.bool_]
) -> Iterator[NDArray[np.float64]]:
    """The deformation gradient I + grad u (N, 3, 3) at the voxels of a mask, slab by slab."""
    grid = displacement.grid
    if min(grid.shape) < 2:
        raise ValueError(f"a Jacobian needs two voxels along each axis, got shape {grid.shape}")
    # With a halo of one voxel, differences inside the slab are central.
    for slab in slabs(inside, (1, 1, 1)):
        u = displacement.vectors[:, *slab.box].astype(np.float64)
        along_axes = np.stack(
            [
                np.gradient(u, step, axis=axis + 1)[:, slab.here]
                for axis, step in enumerate(grid.spacing_mm)
            ]
        )
        # d/dx_j = sum_a direction[j, a] d/d(axis a): the axes may be oblique.
        gradient = np.einsum("ja,ain->nij", np.asarray(grid.direction), along_axes)
        gradient += np.eye(3)
        yield np.asarray(gradient)


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
    """Folding, roughness and size of the displacement inside ``mask`` (Z, Y, X).

    Raises
    ------
    ValueError
        If the mask is empty.
    """
    inside = np.asarray(mask) > 0
    if not inside.any():
        raise ValueError("the mask is empty: deformation_quality needs at least one voxel")
    determinant = determinants(displacement, inside)
    length = lengths(displacement, inside)
    return DeformationQuality(
        folding_percent=100.0 * float((determinant <= 0).mean()),
        sd_log_jacobian=float(np.log(np.maximum(determinant, DETERMINANT_FLOOR)).std()),
        determinant_p01=float(np.percentile(determinant, 1)),
        determinant_p99=float(np.percentile(determinant, 99)),
        mean_mm=float(length.mean()),
        p95_mm=float(np.percentile(length, 95)),
        max_mm=float(length.max()),
    )
