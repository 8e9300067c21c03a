"""HOAG: strengths of regularizers are learned on validation patches during training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor, nn

from synthct.data.errors import UsageError
from synthct.tasks.regularization import REGULARIZERS
from synthct.tasks.regularization.base import Periodic, Step
from synthct.tasks.regularization.gradients.displaced import Gradient, gradient_of, with_gradient
from synthct.tasks.regularization.gradients.inverse_hessian import (
    add,
    conjugate_gradients,
    dot,
    neumann_series,
)

Solver = Literal["cg", "neumann", "unrolled"]

PROBE = 0.1
"""Relative change of a strength for the difference; the objective is linear in it."""

DECREASE = 0.9
"""Factor of the tolerance from update to update, as in the paper."""

MEMORY = 0.9
"""Weight of the earlier updates in the mean square of the hypergradient."""

COUNT, SOLVED, SQUARE = "count", "solved/", "square/"
"""Keys of the memory: number of updates, the last solution, the mean squares."""


@REGULARIZERS.register("hoag")
@dataclass(frozen=True)
class Hoag(Periodic):
    r"""Descent in the logarithms of strengths :math:`\lambda` by an inexact hypergradient.

    With the training objective *L* and the validation error *E* (mean absolute error over the
    body of a batch of validation patches), by the implicit function theorem

    .. math:: h = \frac{dE}{d\log\lambda} =
              -q^T\,\frac{\partial \nabla_\theta L}{\partial\log\lambda},
              \qquad (H + d I)\,q = \nabla_\theta E,

    with *H* the Hessian of *L*. As in the paper, neither the training nor the linear system is
    solved exactly: conjugate gradients start from the last *q* and stop where the residual is
    below :math:`\text{tolerance} \cdot 0.9^k` of the right side at the *k*-th update, at weights
    that have not converged. Products with *H* are exact: the gradient is differentiated again. The
    mixed derivative is a difference to the gradient at a slightly larger strength, exact too,
    since *L* is linear in it. A hypergradient of a small penalty is tiny in network units, so its
    length is not a measure of a step: each update is

    .. math:: \log\lambda \leftarrow \log\lambda - \eta\, h / \sqrt{\overline{h^2}},

    with a running mean over the updates (an adaptation of the paper's adaptive step), and at most
    a factor of two. The paper assumes a smooth, strongly convex inner problem. For networks the
    damping *d* takes its place, the iterations stop at the first direction of negative curvature
    (if that is the very first, it is taken with the size of its curvature, as otherwise the
    strengths would stay), and the solution is local. The second derivative of the loss ``l1`` is
    zero almost everywhere: *H* then holds the curvature of the network and of the penalties, and
    not that of the errors. Use ``huber`` or ``ssim`` where that matters.

    Two other solvers need no line search and no positive curvature. ``neumann`` takes the first
    terms of :math:`(H + dI)^{-1} = a \sum_j (I - a(H + dI))^j`, which tends to the solution of
    conjugate gradients, and ends where its terms grow. ``unrolled`` differentiates through
    ``iterations`` steps of gradient descent with step *a*, from the present weights and on the same
    batch: exact for these steps, and blind to what comes after them. Its tangents are carried
    forward, so that each strength costs one more product with *H* and one more gradient at each
    step.
    Only strengths that enter the objective can be learned: those of penalties and targets, not
    of perturbations. They are written to ``history.csv`` as ``strength_NAME``. Unit: network
    units per unit of the logarithm.

    For synthetic CT: penalties are balanced without a grid search, on validation patients, never
    on test patients.

    Acts at ``gradient``; its strength is :math:`\eta`, the relative change of a strength at an
    update: 0.1 is usable. List it last.

    Parameters
    ----------
    learned
        Names of the regularizers whose strengths are learned; empty: all others.
    solver
        ``cg``, ``neumann`` or ``unrolled``.
    every
        Act at each k-th step only; an update costs about 4 + 2 ``iterations`` extra passes, and
        with ``unrolled`` about ``iterations`` times 3 and 3 more for each strength.
    iterations
        Most iterations of the solver.
    rate
        *a* of ``neumann`` and ``unrolled``: below 2 over the largest curvature.
    damping
        *d*, added to the diagonal of the Hessian by ``cg`` and ``neumann``.
    tolerance
        Residual at which the first system counts as solved, as a share of the right side.

    References
    ----------
    Pedregosa, Hyperparameter optimization with approximate gradient, ICML 2016,
    arXiv:1602.02355. Neumann series, and its relation to unrolling: Lorraine, Vicol & Duvenaud,
    Optimizing Millions of Hyperparameters by Implicit Differentiation, AISTATS 2020,
    arXiv:1911.02590. Exact products: Pearlmutter, Neural Computation 6 (1994) 147-160,
    doi:10.1162/neco.1994.6.1.147.
    """

    learned: tuple[str, ...] = ()
    solver: Solver = "cg"
    every: int = 20
    iterations: int = 5
    rate: float = 0.1
    damping: float = 0.01
    tolerance: float = 0.1

    learns: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.iterations < 1:
            raise ValueError(f"iterations must be at least 1, got {self.iterations}")
        if self.solver not in get_args(Solver):
            raise ValueError(f"solver must be one of {get_args(Solver)}, got {self.solver!r}")
        for name in ("rate", "damping", "tolerance"):
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
        count = int(step.memory.get(COUNT, torch.zeros(())))
        for label, slope in self.slopes(step, labels).items():
            change = -step.strength * slope / _usual_length(step, label, slope, count)
            limited = max(-math.log(2), min(math.log(2), change))
            step.strengths[label] *= math.exp(limited)
        step.memory[COUNT] = torch.tensor(count + 1)

    def slopes(self, step: Step, labels: Sequence[str]) -> dict[str, float]:
        """Hypergradient of each strength [network units per unit of its logarithm]."""
        parameters = with_gradient(step.model)
        if self.solver == "unrolled":
            return self._unrolled(step, labels, parameters)
        outer = gradient_of(lambda: _validation_error(step), parameters)
        here = _traced(step, parameters)
        solved = self._solved(step, here, outer, parameters)
        flat = tuple(part.detach() for part in here)
        return {
            label: -float(dot(solved, self._mixed(step, label, parameters, flat)))
            for label in labels
        }

    def _solved(
        self, step: Step, here: Gradient, outer: Gradient, parameters: Sequence[nn.Parameter]
    ) -> Gradient:
        """The linear system's approximate solution."""

        def curved(vector: Gradient) -> Gradient:
            return add(_product(here, parameters, vector), self.damping, vector)

        count = int(step.memory.get(COUNT, torch.zeros(())))
        tolerance = self.tolerance * DECREASE**count
        if self.solver == "neumann":
            return neumann_series(curved, outer, self.iterations, self.rate, tolerance)
        start = _remembered(step, len(parameters))
        solved = conjugate_gradients(curved, outer, self.iterations, tolerance, start)
        step.memory.update({f"{SOLVED}{n}": part.detach() for n, part in enumerate(solved)})
        return solved

    def _unrolled(
        self, step: Step, labels: Sequence[str], parameters: Sequence[nn.Parameter]
    ) -> dict[str, float]:
        """Derivatives of the validation error after ``iterations`` steps; weights are restored."""
        kept = [p.detach().clone() for p in parameters]
        none = tuple(torch.zeros_like(p) for p in kept)
        tangents = dict.fromkeys(labels, none)
        try:
            for _ in range(self.iterations):
                here = _traced(step, parameters)
                flat = tuple(part.detach() for part in here)
                for label, tangent in tangents.items():
                    turned = _product(here, parameters, tangent)
                    turned = add(turned, 1.0, self._mixed(step, label, parameters, flat))
                    tangents[label] = add(tangent, -self.rate, turned)
                _set(parameters, add(tuple(p.detach() for p in parameters), -self.rate, flat))
            outer = gradient_of(lambda: _validation_error(step), parameters)
        finally:
            _set(parameters, kept)
        return {label: float(dot(outer, tangent)) for label, tangent in tangents.items()}

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


def _traced(step: Step, parameters: Sequence[nn.Parameter]) -> Gradient:
    """Gradient of the objective that can be differentiated again."""
    return torch.autograd.grad(
        step.objective(), list(parameters), create_graph=True, allow_unused=True,
        materialize_grads=True,
    )  # fmt: skip


def _product(here: Gradient, parameters: Sequence[nn.Parameter], vector: Gradient) -> Gradient:
    """Exact product of the Hessian with a vector."""
    return torch.autograd.grad(
        here, list(parameters), vector, retain_graph=True, allow_unused=True,
        materialize_grads=True,
    )  # fmt: skip


def _set(parameters: Sequence[nn.Parameter], values: Sequence[Tensor]) -> None:
    with torch.no_grad():
        for parameter, value in zip(parameters, values, strict=True):
            parameter.copy_(value)


def _remembered(step: Step, count: int) -> Gradient | None:
    """The last solution, on the device of the network; None before the first."""
    found = [step.memory.get(f"{SOLVED}{number}") for number in range(count)]
    like = next(step.model.parameters())
    parts = tuple(part.to(like.device) for part in found if part is not None)
    return parts if len(parts) == count else None


def _usual_length(step: Step, label: str, slope: float, count: int) -> float:
    """Root of the running mean of squared hypergradients, this one included; never 0."""
    key = f"{SQUARE}{label}"
    before = float(step.memory.get(key, torch.zeros((), dtype=torch.float64)))
    square = MEMORY * before + (1 - MEMORY) * slope**2
    step.memory[key] = torch.tensor(square, dtype=torch.float64)
    return math.sqrt(square / (1 - MEMORY ** (count + 1))) or 1.0


def _validation_error(step: Step) -> Tensor:
    """Mean absolute error over the body of a batch of validation patches; a scalar."""
    batch = step.validation()
    error = (step.forward(batch.source) - batch.target).abs() * batch.mask
    return error.sum() / batch.mask.sum().clamp(min=1)
