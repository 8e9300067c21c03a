"""Surrogate sharpness: the output should not hang on the exact weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from synthct.tasks.regularization import REGULARIZERS
from synthct.tasks.regularization.base import Regularizer, Step
from synthct.tasks.regularization.gradients.displaced import gradient_at, length_of


@REGULARIZERS.register("surrogate_sharpness")
@dataclass(frozen=True)
class SurrogateSharpness(Regularizer):
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

    method: Literal["finite_difference", "exact"] = "finite_difference"
    reach: float = 0.01
    every: int = 2

    paper: ClassVar[int | None] = 202

    def __post_init__(self) -> None:
        if self.method not in ("finite_difference", "exact"):
            raise ValueError(f"method must be finite_difference or exact, got {self.method!r}")
        if self.reach <= 0:
            raise ValueError(f"reach must be positive, got {self.reach}")
        if self.every < 1:
            raise ValueError(f"every must be at least 1, got {self.every}")

    def penalty(self, step: Step) -> Tensor | None:
        """Differentiable twice; a scalar [network units per unit of weight]."""
        if self.method != "exact" or step.number % self.every:
            return None
        parameters = [p for p in step.model.parameters() if p.requires_grad]
        slopes = torch.autograd.grad(
            _mean_output(step, step.prediction),
            parameters,
            create_graph=True,
            allow_unused=True,
            materialize_grads=True,
        )
        return self.every * length_of(slopes)

    def gradient(self, step: Step) -> None:
        """Add the slope of the sharpness to every parameter's ``grad``."""
        if self.method != "finite_difference" or step.number % self.every:
            return
        parameters = [p for p in step.model.parameters() if p.grad is not None]

        def height() -> Tensor:
            return _mean_output(step, step.forward(step.batch.source))

        here = torch.autograd.grad(height(), parameters, allow_unused=True, materialize_grads=True)
        length = length_of(here)
        if length == 0:
            return
        ahead = gradient_at(height, parameters, here, self.reach / length)
        scale = step.strength * self.every / self.reach
        for parameter, a, b in zip(parameters, here, ahead, strict=True):
            assert parameter.grad is not None
            parameter.grad = (parameter.grad + scale * (b - a)).detach()


def _mean_output(step: Step, prediction: Tensor) -> Tensor:
    """Mean over the body; a scalar [network units]."""
    return (prediction * step.batch.mask).sum() / step.batch.mask.sum().clamp(min=1)
