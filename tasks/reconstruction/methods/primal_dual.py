"""Chambolle and Pock's primal-dual algorithm."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from synthct.tasks.reconstruction.base import Memory, Method, Problem
from synthct.tasks.reconstruction.methods import RECONSTRUCTION_METHODS


@RECONSTRUCTION_METHODS.register("primal_dual")
@dataclass(frozen=True)
class PrimalDual(Method):
    r"""Alternate a dual step for the data term and a proximal step for the prior.

    With :math:`B = W^{1/2} A / \sqrt{L}` and :math:`q = W^{1/2} p / \sqrt{L}`, for which
    :math:`\|B\| \le 1`, and steps :math:`\sigma = 1 / \tau`:

    .. math:: y_{k+1} = \frac{y_k + \sigma (B \bar x_k - q)}{1 + \sigma}, \quad
              x_{k+1} = \mathrm{prox}_{\tau \lambda R}(x_k - \tau B^\top y_{k+1}), \quad
              \bar x_{k+1} = 2 x_{k+1} - x_k

    Parameters
    ----------
    primal_step
        :math:`\tau`, above 0. Larger values move the image faster and the dual more slowly.

    References
    ----------
    Chambolle & Pock, J. Math. Imaging Vis. 40 (2011) 120-145, doi:10.1007/s10851-010-0251-1; for
    tomography Sidky, Jorgensen & Pan, Phys. Med. Biol. 57 (2012) 3065-3091,
    doi:10.1088/0031-9155/57/10/3065.
    """

    primal_step: float = 1.0

    def __post_init__(self) -> None:
        if self.primal_step <= 0:
            raise ValueError(f"primal_step must be positive, got {self.primal_step}")

    def begin(self, problem: Problem, image: Tensor) -> Memory:
        """Start with the first image, as *x* and its extrapolation, and a zero dual."""
        start = image.clamp_min(0)
        return {"image": start, "ahead": start, "dual": problem.lines.new_zeros(()) * problem.lines}

    def advance(self, problem: Problem, memory: Memory) -> None:
        """One dual and one primal step; the dual is kept without its factor of weights."""
        tau, sigma = self.primal_step, 1 / self.primal_step
        root = problem.lipschitz**0.5
        residual = (problem.forward(memory["ahead"]) - problem.lines) / root
        memory["dual"] = (memory["dual"] + sigma * residual) / (1 + sigma)
        back = problem.transpose(problem.weighted(memory["dual"])) / root
        before = memory["image"]
        memory["image"] = problem.prox(before - tau * back, tau)
        memory["ahead"] = 2 * memory["image"] - before
