"""HOAG: strengths of regularizers are learned on validation patches during training."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from synthct.data.errors import UsageError
from synthct.tasks.regularization import REGULARIZERS
from synthct.tasks.regularization.base import Periodic, Step
from synthct.tasks.regularization.gradients.displaced import (
    Gradient,
    gradient_at,
    gradient_of,
    length_of,
    with_gradient,
)

PROBE = 0.1
"""Relative change of a strength for the finite difference; the objective is linear in it."""


@REGULARIZERS.register("hoag")
@dataclass(frozen=True)
class Hoag(Periodic):
    r"""Descent in the logarithms of strengths :math:`\lambda` by an inexact hypergradient.

    With the training objective *L* and the validation error *E* (mean absolute error over the
    body of a batch of validation patches), by the implicit function theorem

    .. math:: \frac{dE}{d\log\lambda} = -q^T\,\frac{\partial \nabla_\theta L}{\partial\log\lambda},
              \qquad (H + d I)\,q = \nabla_\theta E,

    with *H* the Hessian of *L*. As in the paper, neither the training nor the linear system is
    solved exactly: there are a few iterations of conjugate gradients, at weights that have not
    converged. Products with *H* are forward differences of gradients; the mixed derivative is a
    difference to the gradient at a slightly larger strength. Each update is at most a factor of
    two. The paper assumes a smooth, strongly convex inner problem. For networks the damping *d*
    takes its place, the iterations stop at the first direction of negative curvature, and the
    solution is local. Only strengths that enter the objective can be learned: those of penalties
    and targets, not of perturbations. Unit: network units per unit of the logarithm.

    For synthetic CT: penalties are balanced without a grid search, on validation patients, never
    on test patients.

    Acts at ``gradient``; the strength is the step length in the logarithms. List it last.

    Parameters
    ----------
    learned
        Names of the regularizers whose strengths are learned; empty: all others.
    every
        Act at each k-th step only; an update costs about 3 + ``iterations`` extra passes.
    iterations
        Most iterations of conjugate gradients.
    damping
        *d*, added to the diagonal of the Hessian.
    reach
        Distance in weight space of the forward differences.

    References
    ----------
    Pedregosa, Hyperparameter optimization with approximate gradient, ICML 2016,
    arXiv:1602.02355.
    """

    learned: tuple[str, ...] = ()
    every: int = 20
    iterations: int = 5
    damping: float = 0.01
    reach: float = 0.001

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.iterations < 1:
            raise ValueError(f"iterations must be at least 1, got {self.iterations}")
        for name in ("damping", "reach"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")

    def gradient(self, step: Step) -> None:
        """Change ``step.strengths``; the network's gradients are not changed.

        Raises
        ------
        UsageError
            If ``learned`` names a regularizer that is not listed.
        """
        labels = self._labels(step)
        if not labels or not self.is_due(step):
            return
        parameters = with_gradient(step.model)
        here = gradient_of(step.objective, parameters)
        outer = gradient_of(lambda: _validation_error(step), parameters)

        def curved(vector: Gradient) -> Gradient:
            return self._curved(step, parameters, here, vector)

        solved = conjugate_gradients(curved, outer, self.iterations)
        for label in labels:
            mixed = self._mixed(step, label, parameters, here)
            change = step.strength * float(_dot(solved, mixed))  # minus the hypergradient
            limited = max(-math.log(2), min(math.log(2), change))
            step.strengths[label] *= math.exp(limited)

    def _labels(self, step: Step) -> list[str]:
        known = [label for label in step.strengths if label != step.label]
        if unknown := [label for label in self.learned if label not in known]:
            raise UsageError(
                f"no regularizer in the list is called {', '.join(unknown)}",
                rule="hoag learns the strengths of regularizers that are listed",
                where="params.yaml: training.regularizers",
                remedy=f"name some of: {', '.join(known)}" if known else "list one",
                code="unknown-regularizer",
            )
        return [label for label in self.learned or known if step.strengths[label] > 0]

    def _curved(
        self, step: Step, parameters: Sequence[nn.Parameter], here: Gradient, vector: Gradient
    ) -> Gradient:
        """``(H + damping) vector`` by a forward difference."""
        epsilon = self.reach / length_of(vector)
        there = gradient_at(step.objective, parameters, vector, epsilon)
        return tuple(
            (b - a) / epsilon + self.damping * v
            for a, b, v in zip(here, there, vector, strict=True)
        )

    def _mixed(
        self, step: Step, label: str, parameters: Sequence[nn.Parameter], here: Gradient
    ) -> Gradient:
        """Derivative of the objective's gradient with respect to the logarithm of one strength."""
        kept = step.strengths[label]
        step.strengths[label] = kept * (1 + PROBE)
        try:
            there = gradient_of(step.objective, parameters)
        finally:
            step.strengths[label] = kept
        return tuple((b - a) / PROBE for a, b in zip(here, there, strict=True))


def conjugate_gradients(
    curved: Callable[[Gradient], Gradient], right: Gradient, iterations: int
) -> Gradient:
    """Approximate ``x`` with ``curved(x) = right``, from zero, while the curvature is positive."""
    solved = tuple(torch.zeros_like(r) for r in right)
    residual = direction = right
    size = first = _dot(residual, residual)
    for _ in range(iterations):
        if size <= 1e-12 * first:
            break
        bent = curved(direction)
        curvature = _dot(direction, bent)
        if curvature <= 0:
            break
        solved = _add(solved, size / curvature, direction)
        residual = _add(residual, -size / curvature, bent)
        before, size = size, _dot(residual, residual)
        direction = _add(residual, size / before, direction)
    return solved


def _validation_error(step: Step) -> Tensor:
    """Mean absolute error over the body of a batch of validation patches; a scalar."""
    batch = step.validation()
    error = (step.forward(batch.source) - batch.target).abs() * batch.mask
    return error.sum() / batch.mask.sum().clamp(min=1)


def _dot(a: Gradient, b: Gradient) -> Tensor:
    return torch.stack([(x * y).sum() for x, y in zip(a, b, strict=True)]).sum()


def _add(a: Gradient, scale: Tensor, b: Gradient) -> Gradient:
    return tuple(x + scale * y for x, y in zip(a, b, strict=True))
