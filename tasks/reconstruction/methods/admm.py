"""Alternating directions: least squares and the prior (or any denoiser) in turn."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from synthct.tasks.reconstruction.base import Memory, Method, Problem
from synthct.tasks.reconstruction.methods import RECONSTRUCTION_METHODS


@RECONSTRUCTION_METHODS.register("admm")
@dataclass(frozen=True)
class Admm(Method):
    r"""Alternating direction method of multipliers; plug-and-play with a denoiser as prior.

    .. math:: x \leftarrow \mathrm{argmin}_x \; D(x) + \tfrac{\rho}{2}\|x - z + u\|^2, \quad
              z \leftarrow \mathrm{prox}_{\lambda R / \rho}(x + u), \quad u \leftarrow u + x - z

    The first is solved by ``inner`` conjugate-gradient steps from the present *x*; *z* is the
    result.

    Parameters
    ----------
    penalty
        :math:`\rho`, above 0; 1 is the data term's largest curvature.
    inner
        Conjugate-gradient steps an iteration, each with one projection and one back-projection.

    References
    ----------
    Boyd et al., Found. Trends Mach. Learn. 3 (2011) 1-122, doi:10.1561/2200000016;
    Venkatakrishnan, Bouman & Wohlberg, GlobalSIP 2013, doi:10.1109/GlobalSIP.2013.6737048.
    """

    penalty: float = 0.05
    inner: int = 4

    def __post_init__(self) -> None:
        if self.penalty <= 0:
            raise ValueError(f"penalty must be positive, got {self.penalty}")
        if self.inner < 1:
            raise ValueError(f"inner must be at least 1, got {self.inner}")

    def begin(self, problem: Problem, image: Tensor) -> Memory:
        """Start with both images equal and a zero multiplier."""
        start = image.clamp_min(0)
        return {"image": start, "fitted": start, "multiplier": torch.zeros_like(start)}

    def advance(self, problem: Problem, memory: Memory) -> None:
        """Solve the least-squares part, then apply the proximal map."""
        rho, multiplier = self.penalty, memory["multiplier"]
        fitted = self._fitted(problem, memory["fitted"], memory["image"] - multiplier)
        image = problem.prox(fitted + multiplier, 1 / rho)
        memory.update(image=image, fitted=fitted, multiplier=multiplier + fitted - image)

    def _fitted(self, problem: Problem, start: Tensor, near: Tensor) -> Tensor:
        """Conjugate gradients on (A'WA / L + rho) x = A'Wp / L + rho near."""
        rho, found = self.penalty, start
        residual = -problem.gradient(found) - rho * (found - near)
        direction, size = residual, float(residual.square().sum())
        for _ in range(self.inner):
            if size == 0:
                break
            along = problem.transpose(problem.weighted(problem.forward(direction)))
            image = along / problem.lipschitz + rho * direction
            length = size / float((direction * image).sum())
            found = found + length * direction
            residual = residual - length * image
            following = float(residual.square().sum())
            direction, size = residual + following / size * direction, following
        return found
