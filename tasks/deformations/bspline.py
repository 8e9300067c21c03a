"""Free-form deformation: cubic B-splines over a regular grid of control points."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from tasks.deformations import DEFORMATIONS
from tasks.registration.torch_engine.contracts import Level


@DEFORMATIONS.register("bspline")
@dataclass(frozen=True)
class BSpline:
    r"""Cubic tensor-product splines, :math:`u(x) = \sum_k c_k \beta(z)\beta(y)\beta(x)`.

    The parameters are the control points *c* (1, 3, Kz, Ky, Kx) [mm]. Their distance grows with
    the level's factor, so that a halved factor halves it. Evaluated by three small matrix
    products, exactly, at any spacing; constants and affine maps are within reach.

    Parameters
    ----------
    grid_mm
        Distance of the control points at factor 1 [mm].

    References
    ----------
    Rueckert, Sonoda, Hayes, Hill, Leach & Hawkes, IEEE Trans. Med. Imaging 18 (1999) 712-721.
    """

    grid_mm: float = 12.0

    def __post_init__(self) -> None:
        if self.grid_mm <= 0:
            raise ValueError(f"grid_mm must be positive [mm], got {self.grid_mm}")

    def start(self, u: Tensor, level: Level) -> Tensor:
        """Least-squares control points of ``u`` (1, 3, Z, Y, X) [mm]."""
        # Fitted in double precision: control points that reach few voxels are ill-determined.
        bases = (basis.double() for basis in self._bases(u, level))
        inverses = [torch.linalg.pinv(basis, rtol=1e-6) for basis in bases]
        return _product(u.double(), inverses).to(u)

    def displacement(self, parameters: Tensor, level: Level) -> Tensor:
        """The spline on the level's grid, (1, 3, Z, Y, X) [mm]."""
        return _product(parameters, self._bases(parameters, level))

    def _bases(self, like: Tensor, level: Level) -> list[Tensor]:
        """For each axis, the weight of each control point at each voxel (voxels, points)."""
        apart = self.grid_mm * level.factor
        bases = []
        for n, step, offset in zip(level.shape, level.spacing_mm, level.offset_mm, strict=True):
            at = (offset + step * torch.arange(n, dtype=torch.float64)) / apart
            points = math.floor(at[-1].item()) + 4  # one before the first voxel, two after the last
            far = (at[:, None] - torch.arange(-1, points - 1)).abs()
            near = 2 / 3 - far**2 + far**3 / 2
            outer = (2 - far).clamp(min=0) ** 3 / 6
            bases.append(torch.where(far < 1, near, outer).to(like))
        return bases


def _product(values: Tensor, matrices: list[Tensor]) -> Tensor:
    """One matrix (to, from) along each spatial axis of (B, C, Z, Y, X)."""
    along_z, along_y, along_x = matrices
    planes = along_y @ (values @ along_x.T)
    deep: Tensor = along_z @ planes.flatten(3)
    return deep.unflatten(3, planes.shape[3:])
