"""Gradient norm: steep places of the loss are avoided, as the noise of small batches would."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from synthct.tasks.regularization import REGULARIZERS
from synthct.tasks.regularization.base import Regularizer, Step


@REGULARIZERS.register("gradient_norm")
@dataclass(frozen=True)
class GradientNorm(Regularizer):
    r"""Half the squared length of the objective's gradient, :math:`\tfrac12\|\nabla_\theta L\|^2`.

    *L* is the objective: losses and penalties. The noise of small batches makes gradient descent
    follow, to first order, :math:`L + \tfrac{\eta}{4}\,\overline{\|\nabla L_b\|^2}` (learning
    rate :math:`\eta`); written out as a penalty it steers to the same flat minima without the
    noise. Its gradient is a product with the Hessian *H*, taken by the paper's forward
    difference,

    .. math:: H g \approx \frac{\nabla L(\theta + \epsilon g) - g}{\epsilon}, \qquad
              g = \nabla L(\theta), \quad \epsilon = \text{reach} / \|g\|

    (``finite_difference``, at the ``gradient`` seam: one more pass, about twice the time of a
    step), or by differentiating twice (``exact``, at the ``penalty`` seam: *L* is then what is
    listed before; more memory). The second pass meets the same batch and random numbers and
    leaves running statistics alone. Unit: network units squared per unit of weight squared.

    For synthetic CT: few patients allow few distinct batches; flat minima carry over to
    unseen scanners.

    Parameters
    ----------
    method
        ``finite_difference`` or ``exact``.
    reach
        Distance in weight space of the forward difference (the paper's 0.01).
    every
        Act at each k-th step only, k times as strongly: a price k times lower.

    References
    ----------
    Geiping, Goldblum, Pope, Moeller & Goldstein, Stochastic Training is Not Necessary for
    Generalization, ICLR 2022, arXiv:2109.14119.
    """

    method: Literal["finite_difference", "exact"] = "finite_difference"
    reach: float = 0.01
    every: int = 1

    paper: ClassVar[int | None] = 106

    def __post_init__(self) -> None:
        if self.method not in ("finite_difference", "exact"):
            raise ValueError(f"method must be finite_difference or exact, got {self.method!r}")
        if self.reach <= 0:
            raise ValueError(f"reach must be positive, got {self.reach}")
        if self.every < 1:
            raise ValueError(f"every must be at least 1, got {self.every}")

    def penalty(self, step: Step) -> Tensor | None:
        """Differentiable twice; a scalar."""
        if self.method != "exact" or step.number % self.every:
            return None
        parameters = [p for p in step.model.parameters() if p.requires_grad]
        slopes = torch.autograd.grad(
            step.value, parameters, create_graph=True, allow_unused=True, materialize_grads=True
        )
        return 0.5 * self.every * torch.stack([(g**2).sum() for g in slopes]).sum()

    def gradient(self, step: Step) -> None:
        """Add the product of Hessian and gradient to every parameter's ``grad``."""
        if self.method != "finite_difference" or step.number % self.every:
            return
        parameters = [p for p in step.model.parameters() if p.grad is not None]
        slopes = [p.grad.detach().clone() for p in parameters if p.grad is not None]
        length = torch.linalg.vector_norm(
            torch.stack([torch.linalg.vector_norm(g) for g in slopes])
        )
        if length == 0:
            return
        ahead = self._gradient_ahead(step, parameters, slopes, self.reach / length)
        scale = step.strength * self.every * length / self.reach
        for parameter, here, there in zip(parameters, slopes, ahead, strict=True):
            parameter.grad = (parameter.grad + scale * (there - here)).detach()

    def _gradient_ahead(
        self,
        step: Step,
        parameters: list[torch.nn.Parameter],
        slopes: list[Tensor],
        epsilon: Tensor,
    ) -> tuple[Tensor, ...]:
        """The objective's gradient at ``theta + epsilon g``; the weights come back unchanged."""
        kept = [p.detach().clone() for p in parameters]
        with torch.no_grad():
            for parameter, slope in zip(parameters, slopes, strict=True):
                parameter.add_(epsilon * slope)
        try:
            return torch.autograd.grad(step.objective(), parameters, materialize_grads=True)
        finally:
            with torch.no_grad():
                for parameter, before in zip(parameters, kept, strict=True):
                    parameter.copy_(before)
