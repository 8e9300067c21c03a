"""Surrogate sharpness: the output should not hang on the exact weights."""

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

    To first order, the length times :math:`\rho` is the most by which weights within a ball of
    radius :math:`\rho` can raise the mean prediction over the body. It is the *output's*
    sharpness, not the loss's (``gradient_norm``, ``finite_difference_gradient``): it is not zero
    where the loss is, and the paper bounds the sharpness on unseen data by that on the data
    seen. Its gradient is the Hessian of *h* times the unit vector *n* along its gradient, here

    .. math:: \frac{\nabla h(\theta + r\,n) - \nabla h(\theta)}{r}

    (``finite_difference``, at the ``gradient`` seam: two extra passes; ``every`` halves the
    price), or by differentiating twice (``exact``, at the ``penalty`` seam; more memory). An
    adaptation: the paper's surrogate has one number as output, here it is the mean voxel.
    Unit: network units per unit of weight.

    For synthetic CT: a trained network stands in for the scanner that was not used; its HU
    level should not tip over with small changes of weights, as by quantisation or fine-tuning.

    Parameters
    ----------
    method
        ``finite_difference`` or ``exact``.
    reach
        *r*, the distance in weight space of the forward difference.
    every
        Act at each k-th step only, k times as strongly: a price k times lower.

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
