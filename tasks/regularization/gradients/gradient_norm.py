"""Gradient norm: a penalty on steep regions of the loss, as the noise of small batches implies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

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
    rate :math:`\eta`); as an explicit penalty it leads to the same flat minima without the noise.
    Its gradient is a product with the Hessian *H*. ``exact`` differentiates twice, at the
    ``penalty`` seam: *L* then consists of the losses and the penalties listed before.
    ``finite_difference``, at the ``gradient`` seam, is the paper's forward difference,

    .. math:: H g \approx \frac{\nabla L(\theta + \epsilon g) - g}{\epsilon}, \qquad
              g = \nabla L(\theta), \quad \epsilon = \text{reach} / \|g\|,

    with one extra pass, about twice the time of a step. It needs a smooth loss in float32: the
    kinks of ``l1`` make the difference point elsewhere and grow as ``reach`` shrinks, and bfloat16
    rounds it. The second pass uses the same batch and random numbers and does not change running
    statistics. Unit: network units squared per unit of weight squared.

    For synthetic CT: few patients give few distinct batches; flat minima generalise better to
    unseen scanners.

    Parameters
    ----------
    method
        ``exact`` or ``finite_difference``.
    reach
        Distance in weight space of the forward difference (0.01 in the paper).
    every
        Act at each k-th step only, k times as strongly: k times less computation.

    References
    ----------
    Geiping, Goldblum, Pope, Moeller & Goldstein, Stochastic Training is Not Necessary for
    Generalization, ICLR 2022, arXiv:2109.14119.
    """

    method: Literal["finite_difference", "exact"] = "exact"

    def value(self, step: Step) -> Tensor:
        """The objective so far: the losses and the penalties listed before."""
        return step.value

    def function(self, step: Step) -> Function:
        """The whole objective."""
        return step.objective

    def gradient_here(self, step: Step, parameters: Sequence[nn.Parameter]) -> Gradient:
        """From the backward pass of the step, without extra computation."""
        return current_gradient(parameters)

    def cost(self, gradient: Gradient) -> Tensor:
        """Half the squared length; a scalar."""
        return 0.5 * torch.stack([(g**2).sum() for g in gradient]).sum()

    def scale(self, step: Step, length: Tensor) -> Tensor:
        """The product of Hessian and gradient, over the length of the displacement."""
        return step.strength * self.every * length / self.reach
