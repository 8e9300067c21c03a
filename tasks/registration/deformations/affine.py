"""Global linear transforms: affine (with scaling and shear) and rigid (without)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from synthct.tasks.registration.contracts import Level
from synthct.tasks.registration.deformations import DEFORMATIONS


@dataclass(frozen=True, eq=False)
class Frame:
    """Voxel positions of a level relative to its centre.

    Parameters
    ----------
    at
        Positions (3, Z, Y, X) [mm].
    radius_mm
        Root mean square distance from the centre [mm]; scales linear parameters to millimetres.
    """

    at: Tensor
    radius_mm: float

    @classmethod
    def of(cls, level: Level, like: Tensor) -> Frame:
        """The frame of a level, with the device and dtype of ``like``."""
        axes = [
            (torch.arange(n, dtype=like.dtype, device=like.device) - (n - 1) / 2) * step
            for n, step in zip(level.shape, level.spacing_mm, strict=True)
        ]
        at = torch.stack(torch.meshgrid(*axes, indexing="ij"))
        return cls(at, float(at.square().sum(dim=0).mean().sqrt()))

    def moved(self, matrix: Tensor, shift_mm: Tensor) -> Tensor:
        """Displacement :math:`(M - 1) x + t`, (1, 3, Z, Y, X) [mm]."""
        linear = torch.einsum("ij,jzyx->izyx", matrix - torch.eye(3).to(matrix), self.at)
        return (linear + shift_mm.view(3, 1, 1, 1))[None]

    def fitted(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """Least-squares matrix and translation of a displacement."""
        x = self.at.flatten(1)
        shift = u[0].flatten(1).mean(dim=1)
        y = x + u[0].flatten(1) - shift[:, None]
        return torch.linalg.solve(x @ x.T, x @ y.T).T, shift


@DEFORMATIONS.register("affine")
@dataclass(frozen=True)
class Affine:
    r"""Twelve degrees of freedom, :math:`u(x) = (M - 1)\,x + t` about the grid's centre.

    The parameters (4, 3) are the rows of :math:`(M - 1) r` and *t*, both in mm; *r* is the root
    mean square distance of the voxels from the centre.
    """

    def around(self, u: Tensor, level: Level) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """The least-squares affine map of ``u`` (1, 3, Z, Y, X) [mm]."""
        frame = Frame.of(level, u)
        one = torch.eye(3).to(u)
        matrix, shift = frame.fitted(u)
        start = torch.cat([(matrix - one) * frame.radius_mm, shift[None]])
        return start, lambda p: frame.moved(one + p[:3] / frame.radius_mm, p[3])


@DEFORMATIONS.register("rigid")
@dataclass(frozen=True)
class Rigid:
    r"""Six degrees of freedom, :math:`u(x) = (R_0 e^{[w / r]_\times} - 1)\,x + t`.

    The parameters (2, 3) are the rotation vector *w* relative to the initial rotation and the
    translation *t*, both in mm; *r* is the root mean square distance of the voxels from the grid's
    centre.
    """

    def around(self, u: Tensor, level: Level) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """The rotation closest to ``u`` (1, 3, Z, Y, X) [mm], and its translation."""
        frame = Frame.of(level, u)
        matrix, shift = frame.fitted(u)
        left, _, right = torch.linalg.svd(matrix)
        mirror = torch.ones(3).to(u)
        mirror[2] = torch.sign(torch.linalg.det(left @ right))
        base = left @ torch.diag(mirror) @ right
        start = torch.stack([torch.zeros(3).to(u), shift])
        return start, lambda p: frame.moved(base @ turn(p[0] / frame.radius_mm), p[1])


def turn(vector: Tensor) -> Tensor:
    """Rotation matrix of a rotation vector (3,) [rad]."""
    zero = vector.new_zeros(())
    a, b, c = vector.unbind()
    skew = torch.stack([zero, -c, b, c, zero, -a, -b, a, zero]).view(3, 3)
    turned: Tensor = torch.linalg.matrix_exp(skew)
    return turned
