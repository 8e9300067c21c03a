"""Infimal convolution: a motion is a smooth part and a part that jumps, each judged by its own."""

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
"""Largest slope of the summed objective at which the split counts as found."""


@REGULARIZERS.register("infimal_convolution")
@dataclass(frozen=True)
class InfimalConvolution(Regularizer):
    r"""The cheapest split of the displacement into a jumping and a smooth part,

    .. math:: \inf_v\; TV_\varepsilon(u - v) + a^2 B(v),

    TV the ``total_variation`` (coupled), B the ``bending`` energy, *a* = ``smooth_mm``: affine
    and slowly bending motion is free or cheap through *v*, sliding through *u - v*. Neither
    penalty alone allows both. The paper splits a video between two weightings of space and
    time; here it is one displacement between two orders of derivative: an adaptation. Unit:
    mm/mm. ``tissue`` is not used.

    The split is found by L-BFGS in each call, so it costs up to ``iterations`` times more than
    its parts. Any *v* bounds the infimum from above; at the best one the gradient in *u* is that
    of the first term at fixed *v*, and it is as exact as the split.

    For synthetic CT: breathing, which bends the liver smoothly and lets the lung slide.

    Acts at ``displacement``.

    Parameters
    ----------
    smooth_mm
        Length *a* [mm]: the larger, the straighter the smooth part.
    epsilon
        Rounding of the total variation's corner [mm/mm].
    iterations
        Steps of L-BFGS at most.

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
        """The best *v* (B, 3, Z, Y, X) [mm], without gradient; up to a translation."""
        fixed = checked(u, 3).detach()
        voxels = fixed[:, 0].numel()  # the sum, not the mean: slopes do not fade on large grids
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
        """A change of variables in which both terms curve about alike at all wavelengths.

        Cosine waves nearly diagonalise both: TV curves as the Laplacian over the typical slope,
        bending as its square.
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
    """Orthonormal cosine waves on ``n`` points, one a row."""
    at = torch.arange(n).to(like)
    waves: Tensor = torch.cos(torch.pi / n * at[:, None] * (at + 0.5)) * (2 / n) ** 0.5
    waves[0] /= 2**0.5
    return waves
