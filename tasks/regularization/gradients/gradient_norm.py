"""Gradient norm: steep places of the loss are avoided, as the noise of small batches would."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from synthct.tasks.regularization import REGULARIZERS
from synthct.tasks.regularization.base import Step
from synthct.tasks.regularization.gradients.displaced import (
    Function,
    Gradient,
    GradientLength,
    current_gradient,
)


@REGULARIZERS.register("gradient_norm")
@dataclass(frozen=True)
class GradientNorm(GradientLength):
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

    def value(self, step: Step) -> Tensor:
        """The objective so far: the losses and the penalties listed before."""
        return step.value

    def function(self, step: Step) -> Function:
        """The whole objective."""
        return step.objective

    def gradient_here(self, step: Step, parameters: Sequence[nn.Parameter]) -> Gradient:
        """What the backward pass has found, at no cost."""
        return current_gradient(parameters)

    def cost(self, gradient: Gradient) -> Tensor:
        """Half the squared length; a scalar."""
        return 0.5 * torch.stack([(g**2).sum() for g in gradient]).sum()

    def scale(self, step: Step, length: Tensor) -> Tensor:
        """The product of Hessian and gradient, over the length of the displacement."""
        return step.strength * self.every * length / self.reach
