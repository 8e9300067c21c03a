"""How far a displacement is from the truth, for digital patients."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthct.data.volume import Displacement, Grid


def mean_error_mm(found: Displacement, truth: Displacement, mask: NDArray[Any]) -> float:
    """Mean length of ``found - truth`` inside ``mask`` [mm]."""
    inside = np.asarray(mask) > 0
    difference = found.vectors[:, inside].astype(np.float64) - truth.vectors[:, inside]
    return float(np.linalg.norm(difference, axis=0).mean())


def rigid_part(displacement: Displacement, mask: NDArray[Any]) -> Displacement:
    r"""The rigid motion nearest to the displacement inside ``mask``, on the whole grid.

    Minimises :math:`\sum |R x + t - (x + u(x))|^2` by the singular value decomposition.

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
