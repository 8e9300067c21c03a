"""Infimal convolution: a displacement is the sum of a smooth part and a part that may jump."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from synthct.tasks.fields.derivatives import Spacing, checked, edges
from synthct.tasks.regularization import REGULARIZERS
from synthct.tasks.regularization.base import Regularizer
from synthct.tasks.regularization.displacement.smoothness import Bending
from synthct.tasks.regularization.displacement.total_variation import TotalVariation

SOLVED = 1e-9
"""Largest gradient component of the summed objective at which the search stops."""


@REGULARIZERS.register("infimal_convolution")
@dataclass(frozen=True)
class InfimalConvolution(Regularizer):
    r"""The best decomposition of the displacement into a part that may jump and a smooth part,

    .. math:: \inf_v\; TV_\varepsilon(u - v) + a^2 B(v),

    TV the ``total_variation`` (coupled), B the ``bending`` energy, *a* = ``smooth_mm``: affine
    and slowly varying displacements have no or little cost through *v*, sliding through *u - v*.
    Neither penalty alone allows both. The paper decomposes a video with two weightings of space
    and time; here a displacement is decomposed with two orders of derivative: an adaptation.
    Unit: mm/mm. ``tissue`` is not used.

    Each call searches *v* by L-BFGS, at up to ``iterations`` times the cost of the two penalties.
    Any *v* is an upper bound of the infimum; at the optimal one the gradient in *u* is that of
    the first term at fixed *v*, with the accuracy of *v*.

    For synthetic CT: breathing, in which the liver deforms smoothly and the lung slides.

    Acts at ``displacement``.

    Parameters
    ----------
    smooth_mm
        Length *a* [mm]: larger values make the smooth part smoother.
    epsilon
        Rounding of the total variation's corner [mm/mm].
    iterations
        Most iterations of L-BFGS.

    References
    ----------
    Geiping, Dirks, Cremers & Moeller, Multiframe Motion Coupling for Video Super Resolution,
    arXiv:1611.07767 (2016); Chambolle & Lions, Numer. Math. 76 (1997) 167-188.
    """  # noqa: D400

    smooth_mm: float = 10.0
    epsilon: float = 0.05
    iterations: int = 100

    def __post_init__(self) -> None:
        if self.smooth_mm <= 0:
            raise ValueError(f"smooth_mm must be positive [mm], got {self.smooth_mm}")
        if self.epsilon <= 0:
            raise ValueError(f"epsilon must be positive [mm/mm], got {self.epsilon}")
        if self.iterations < 1:
            raise ValueError(f"iterations must be at least 1, got {self.iterations}")

    def displacement(self, u: Tensor, spacing_mm: Spacing, tissue: Tensor | None = None) -> Tensor:
        """Penalise ``u`` (B, 3, Z, Y, X) [mm]; a scalar [1]."""
        smooth = self.smooth_part(u, spacing_mm)
        return self._cost(u, smooth, spacing_mm)

    def smooth_part(self, u: Tensor, spacing_mm: Spacing) -> Tensor:
        """The optimal *v* (B, 3, Z, Y, X) [mm], without gradient; unique up to a translation."""
        fixed = checked(u, 3).detach()
        voxels = fixed[:, 0].numel()  # a sum has gradients that do not shrink on large grids
        spread = self._conditioner(fixed, spacing_mm)
        with torch.enable_grad():
            w = torch.zeros_like(fixed).requires_grad_()
            search = torch.optim.LBFGS(
                [w],
                max_iter=self.iterations,
                max_eval=2 * self.iterations,
                tolerance_grad=SOLVED,
                tolerance_change=torch.finfo(u.dtype).eps,
                line_search_fn="strong_wolfe",
            )

            def cost() -> Tensor:
                value = voxels * self._cost(fixed, fixed + spread(w), spacing_mm)
                (w.grad,) = torch.autograd.grad(value, [w])
                return value

            search.step(cost)  # type: ignore[no-untyped-call]
        return fixed + spread(w.detach())

    def _conditioner(self, u: Tensor, spacing_mm: Spacing) -> Callable[[Tensor], Tensor]:
        """A preconditioner: variables in which the curvature is similar at all wavelengths.

        Cosine waves nearly diagonalise both terms: the Hessian of TV is about the Laplacian over
        the typical slope, that of bending the squared Laplacian.
        """
        slope = torch.stack([edges(u, axis, spacing_mm).square().mean() for axis in range(3)])
        typical = torch.sqrt(3 * slope.sum() + self.epsilon**2)
        along_z, along_y, along_x = (_cosines(n, u) for n in u.shape[2:])
        z, y, x = (
            (2 * torch.sin(torch.arange(n).to(u) * (torch.pi / (2 * n))) / step) ** 2
            for n, step in zip(u.shape[2:], spacing_mm, strict=True)
        )
        laplace = z[:, None, None] + y[:, None] + x
        laplace[0, 0, 0] = torch.inf  # a translation of v changes nothing
        weight = (laplace / typical + 2 * self.smooth_mm**2 * laplace**2).rsqrt()

        def spread(w: Tensor) -> Tensor:
            planes = along_y.T @ (w * weight) @ along_x
            return (along_z.T @ planes.flatten(3)).view_as(w)

        return spread

    def _cost(self, u: Tensor, v: Tensor, spacing_mm: Spacing) -> Tensor:
        jumps = TotalVariation(self.epsilon, coupled=True).displacement(u - v, spacing_mm)
        return jumps + self.smooth_mm**2 * Bending().displacement(v, spacing_mm)


def _cosines(n: int, like: Tensor) -> Tensor:
    """Orthonormal cosine waves on ``n`` points, one per row."""
    at = torch.arange(n).to(like)
    waves: Tensor = torch.cos(torch.pi / n * at[:, None] * (at + 0.5)) * (2 / n) ** 0.5
    waves[0] /= 2**0.5
    return waves
