"""Surrogate sharpness: the output should not depend strongly on the exact weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from synthct.tasks.regularization import REGULARIZERS
from synthct.tasks.regularization.base import Step
from synthct.tasks.regularization.gradients.displaced import (
    Function,
    Gradient,
    GradientLength,
    gradient_of,
    length_of,
)


@REGULARIZERS.register("surrogate_sharpness")
@dataclass(frozen=True)
class SurrogateSharpness(GradientLength):
    r"""Length of the gradient, :math:`\|\nabla_\theta h\|`, of the mean output *h*.

    To first order, the length times :math:`\rho` is the largest increase of the mean prediction
    over the body for weights within a ball of radius :math:`\rho`. It is the sharpness of the
    *output*, not of the loss (``gradient_norm``, ``finite_difference_gradient``): it does not
    vanish where the loss does, and the paper bounds the sharpness on unseen data by that on
    training data. Its gradient is the Hessian of *h* times the unit vector *n* along its gradient,
    here

    .. math:: \frac{\nabla h(\theta + r\,n) - \nabla h(\theta)}{r}

    (``finite_difference``, at the ``gradient`` seam: two extra passes; with ``every`` 2 on average
    one), or by differentiating twice (``exact``, at the ``penalty`` seam; more memory). An
    adaptation: the paper's surrogate has a scalar output, here the mean over voxels is used.
    Unit: network units per unit of weight.

    For synthetic CT: the HU level of a trained network should not change much with small changes
    of the weights, as by quantisation or fine-tuning.

    Parameters
    ----------
    method
        ``finite_difference`` or ``exact``.
    reach
        *r*, the distance in weight space of the forward difference.
    every
        Act at each k-th step only, k times as strongly: k times less computation.

    References
    ----------
    Dao, Nguyen, Truong & Hoang, Incorporating Surrogate Gradient Norm to Improve Offline
    Optimization Techniques, NeurIPS 2024, arXiv:2503.04242.
    """

    every: int = 2

    def value(self, step: Step) -> Tensor:
        """Mean of the prediction over the body; a scalar [network units]."""
        return _mean_output(step, step.prediction)

    def function(self, step: Step) -> Function:
        """The same, by another forward pass."""
        return lambda: _mean_output(step, step.forward(step.batch.source))

    def gradient_here(self, step: Step, parameters: Sequence[nn.Parameter]) -> Gradient:
        """By another forward and backward pass."""
        return gradient_of(self.function(step), parameters)

    def cost(self, gradient: Gradient) -> Tensor:
        """Length of the gradient; a scalar [network units per unit of weight]."""
        return length_of(gradient)

    def scale(self, step: Step, length: Tensor) -> float:
        """The product of Hessian and unit vector, over the length of the displacement."""
        return step.strength * self.every / self.reach


def _mean_output(step: Step, prediction: Tensor) -> Tensor:
    """Mean over the body; a scalar [network units]."""
    return (prediction * step.batch.mask).sum() / step.batch.mask.sum().clamp(min=1)
