"""Free-form deformation: cubic B-splines on a regular grid of control points."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from synthct.tasks.fields.separable import separable
from synthct.tasks.registration.contracts import Level
from synthct.tasks.registration.deformations import DEFORMATIONS


@DEFORMATIONS.register("bspline")
@dataclass(frozen=True)
class BSpline:
    r"""Cubic tensor-product splines, :math:`u(x) = \sum_k c_k \beta(z)\beta(y)\beta(x)`.

    The parameters are the control points *c* (1, 3, Kz, Ky, Kx) [mm]. Their spacing is
    proportional to the level's factor. Evaluated exactly by three small matrix products at any
    spacing; constant and affine displacements can be represented.

    Parameters
    ----------
    grid_mm
        Control-point spacing at factor 1 [mm].

    References
    ----------
    Rueckert, Sonoda, Hayes, Hill, Leach & Hawkes, IEEE Trans. Med. Imaging 18 (1999) 712-721.
    """

    grid_mm: float = 12.0

    def __post_init__(self) -> None:
        if self.grid_mm <= 0:
            raise ValueError(f"grid_mm must be positive [mm], got {self.grid_mm}")

    def around(self, u: Tensor, level: Level) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """Control points fitted to ``u`` (1, 3, Z, Y, X) [mm] by least squares, and the spline."""
        bases = self._bases(level)
        # Control points with few voxels in their support are ill-conditioned: double precision.
        inverses = [torch.linalg.pinv(basis, rtol=1e-6).to(u.device) for basis in bases]
        bases = [basis.to(u) for basis in bases]
        return separable(u.double(), inverses).to(u), lambda points: separable(points, bases)

    def _bases(self, level: Level) -> list[Tensor]:
        """For each axis, the weight of each control point at each voxel (voxels, points)."""
        apart = self.grid_mm * level.factor
        bases = []
        for n, step, offset in zip(level.shape, level.spacing_mm, level.offset_mm, strict=True):
            at = (offset + step * torch.arange(n, dtype=torch.float64)) / apart
            points = math.floor(at[-1].item()) + 4  # one before the first voxel, two after the last
            far = (at[:, None] - torch.arange(-1, points - 1)).abs()
            near = 2 / 3 - far**2 + far**3 / 2
            outer = (2 - far).clamp(min=0) ** 3 / 6
            bases.append(torch.where(far < 1, near, outer))
        return bases
