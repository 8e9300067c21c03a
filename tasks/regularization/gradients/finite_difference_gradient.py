"""Gradient regularization by finite differences along the gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from synthct.tasks.regularization import REGULARIZERS
from synthct.tasks.regularization.base import Periodic, Step
from synthct.tasks.regularization.gradients.displaced import (
    add_difference,
    current_gradient,
    gradient_at,
    with_gradient,
)

Scheme = Literal["forward", "backward", "centred"]


@REGULARIZERS.register("finite_difference_gradient")
@dataclass(frozen=True)
class FiniteDifferenceGradient(Periodic):
    r"""Slope of :math:`\tfrac12\|\nabla L\|^2` by differences over a step along the gradient.

    With :math:`g = \nabla L(\theta)` and the ascent step :math:`\epsilon`, the gradient gains
    strength times

    .. math:: \Delta_F = \frac{\nabla L(\theta + \epsilon g) - g}{\epsilon}, \qquad
              \Delta_B = \frac{g - \nabla L(\theta - \epsilon g)}{\epsilon}, \qquad
              \Delta_C = \tfrac12(\Delta_F + \Delta_B)

    (``forward``, ``backward``, ``centred``). All converge to the Hessian times *g* for small
    :math:`\epsilon`, but the step is finite on purpose. In the paper, the forward difference with
    a large ascent step (strength = :math:`\epsilon` is SAM without its normalisation) biases the
    solution more strongly to the sparse, "rich" regime than exact double differentiation, and the
    backward difference less; and it costs one extra pass instead of two. Unlike in
    ``gradient_norm``, the step is proportional to the gradient. *L* is the whole objective; the
    extra pass uses the same batch and random numbers and does not change running statistics.
    Unit of the penalty: network units squared per unit of weight squared.

    For synthetic CT: with few patients, solutions that use few features generalise better to new
    scanners.

    Acts at ``gradient``.

    Parameters
    ----------
    scheme
        ``forward`` (one extra pass), ``backward`` (one extra) or ``centred`` (two extra).
    ascent
        The paper's :math:`\epsilon`: the weights are moved by this times the gradient.
    every
        Act at each k-th step only, k times as strongly: k times less computation.

    References
    ----------
    Karakida, Takase, Hayase & Osawa, Understanding Gradient Regularization in Deep Learning:
    Efficient Finite-Difference Computation and Implicit Bias, ICML 2023, arXiv:2210.02720.
    """

    scheme: Scheme = "forward"
    ascent: float = 0.05

    def __post_init__(self) -> None:
        if self.scheme not in get_args(Scheme):
            raise ValueError(f"scheme must be one of {get_args(Scheme)}, got {self.scheme!r}")
        if self.ascent <= 0:
            raise ValueError(f"ascent must be positive, got {self.ascent}")
        super().__post_init__()

    def gradient(self, step: Step) -> None:
        """Add the difference quotient to every parameter's ``grad``."""
        if not self.is_due(step):
            return
        parameters = with_gradient(step.model)
        here = current_gradient(parameters)
        ends = {"forward": (1.0,), "backward": (-1.0,), "centred": (1.0, -1.0)}[self.scheme]
        for sign in ends:
            scale = sign * step.strength * self.every / (self.ascent * len(ends))
            there = gradient_at(step.objective, parameters, here, sign * self.ascent)
            add_difference(parameters, here, there, scale)
