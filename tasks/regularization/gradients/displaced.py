"""Gradients with respect to the weights, here and at displaced weights: finite differences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from synthct.tasks.regularization.base import Periodic, Step

Function = Callable[[], Tensor]
"""A scalar function of the weights, evaluated at their current values."""

Gradient = tuple[Tensor, ...]
"""One tensor for each parameter of the network."""


def with_gradient(model: nn.Module) -> list[nn.Parameter]:
    """Parameters that have a gradient after the backward pass."""
    return [parameter for parameter in model.parameters() if parameter.grad is not None]


def current_gradient(parameters: Sequence[nn.Parameter]) -> Gradient:
    """Copies of the gradients that the backward pass has computed."""
    return tuple(p.grad.detach().clone() for p in parameters if p.grad is not None)


def gradient_of(function: Function, parameters: Sequence[nn.Parameter]) -> Gradient:
    """Gradient of ``function`` at the current weights; zero where it does not depend on them."""
    return torch.autograd.grad(
        function(), list(parameters), allow_unused=True, materialize_grads=True
    )


def gradient_at(
    function: Function,
    parameters: Sequence[nn.Parameter],
    direction: Sequence[Tensor],
    distance: float | Tensor,
) -> Gradient:
    r"""Gradient of ``function`` at :math:`\theta + \text{distance} \cdot \text{direction}`.

    The weights are restored bit for bit, also if ``function`` raises.
    """
    kept = [p.detach().clone() for p in parameters]
    with torch.no_grad():
        for parameter, along in zip(parameters, direction, strict=True):
            parameter.add_(distance * along)
    try:
        return gradient_of(function, parameters)
    finally:
        with torch.no_grad():
            for parameter, before in zip(parameters, kept, strict=True):
                parameter.copy_(before)


def add_difference(
    parameters: Sequence[nn.Parameter], here: Gradient, there: Gradient, scale: float | Tensor
) -> None:
    """Add ``scale * (there - here)`` to the ``grad`` of every parameter."""
    for parameter, a, b in zip(parameters, here, there, strict=True):
        assert parameter.grad is not None
        parameter.grad = (parameter.grad + scale * (b - a)).detach()


def length_of(tensors: Sequence[Tensor]) -> Tensor:
    """Euclidean length of all tensors taken as one vector; a scalar."""
    lengths = torch.stack([torch.linalg.vector_norm(t) for t in tensors])
    length: Tensor = torch.linalg.vector_norm(lengths)
    return length


@dataclass(frozen=True, kw_only=True)
class GradientLength(Periodic):
    """A penalty on the length of a gradient, by finite differences or by differentiating twice.

    Parameters
    ----------
    method
        ``finite_difference`` (at the ``gradient`` seam) or ``exact`` (at the ``penalty`` seam).
    reach
        Distance in weight space of the forward difference.
    """

    method: Literal["finite_difference", "exact"] = "finite_difference"
    reach: float = 0.01

    def __post_init__(self) -> None:
        if self.method not in ("finite_difference", "exact"):
            raise ValueError(f"method must be finite_difference or exact, got {self.method!r}")
        if self.reach <= 0:
            raise ValueError(f"reach must be positive, got {self.reach}")
        super().__post_init__()

    def penalty(self, step: Step) -> Tensor | None:
        """With ``exact``, the penalty; a scalar that can be differentiated again."""
        if self.method != "exact" or not self.is_due(step):
            return None
        parameters = [p for p in step.model.parameters() if p.requires_grad]
        gradient = torch.autograd.grad(
            self.value(step),
            parameters,
            create_graph=True,
            allow_unused=True,
            materialize_grads=True,
        )
        return self.every * self.cost(gradient)

    def gradient(self, step: Step) -> None:
        """With ``finite_difference``, add the penalty's gradient to every parameter's ``grad``."""
        if self.method != "finite_difference" or not self.is_due(step):
            return
        parameters = with_gradient(step.model)
        function = self.function(step)
        here = self.gradient_here(step, parameters)
        length = length_of(here)
        if length == 0:
            return
        there = gradient_at(function, parameters, here, self.reach / length)
        add_difference(parameters, here, there, self.scale(step, length))

    def value(self, step: Step) -> Tensor:
        """The function at the current weights, from the forward pass of the step; a scalar."""
        raise NotImplementedError

    def function(self, step: Step) -> Function:
        """The function whose gradient is penalised."""
        raise NotImplementedError

    def gradient_here(self, step: Step, parameters: Sequence[nn.Parameter]) -> Gradient:
        """Its gradient at the current weights."""
        raise NotImplementedError

    def cost(self, gradient: Gradient) -> Tensor:
        """The penalty as a function of the gradient; a scalar."""
        raise NotImplementedError

    def scale(self, step: Step, length: Tensor) -> float | Tensor:
        """Factor on the difference of the gradients, where ``length`` is that of the gradient."""
        raise NotImplementedError
