"""HOAG: strengths of regularizers are learned on validation patches during training."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from synthct.data.errors import UsageError
from synthct.tasks.regularization import REGULARIZERS
from synthct.tasks.regularization.base import Periodic, Step
from synthct.tasks.regularization.gradients.displaced import Gradient, gradient_of, with_gradient

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
    length is no measure of a step: each update is

    .. math:: \log\lambda \leftarrow \log\lambda - \eta\, h / \sqrt{\overline{h^2}},

    with a running mean over the updates (an adaptation of the paper's adaptive step), and at most
    a factor of two. The paper assumes a smooth, strongly convex inner problem. For networks the
    damping *d* takes its place, the iterations stop at the first direction of negative curvature,
    and the solution is local. The second derivative of the loss ``l1`` is zero almost everywhere:
    *H* then holds the curvature of the network and of the penalties, and not that of the errors.
    Use ``huber`` or ``ssim`` where that matters. Only strengths that enter the objective can be
    learned: those of penalties and targets, not of perturbations. They are written to
    ``history.csv`` as ``strength_NAME``. Unit: network units per unit of the logarithm.

    For synthetic CT: penalties are balanced without a grid search, on validation patients, never
    on test patients.

    Acts at ``gradient``; its strength is :math:`\eta`, the relative change of a strength at an
    update: 0.1 is usable. List it last.

    Parameters
    ----------
    learned
        Names of the regularizers whose strengths are learned; empty: all others.
    every
        Act at each k-th step only; an update costs about 4 + 2 ``iterations`` extra passes.
    iterations
        Most iterations of conjugate gradients.
    damping
        *d*, added to the diagonal of the Hessian.
    tolerance
        Residual at which the first system counts as solved, as a share of the right side.

    References
    ----------
    Pedregosa, Hyperparameter optimization with approximate gradient, ICML 2016,
    arXiv:1602.02355. Exact products: Pearlmutter, Neural Computation 6 (1994) 147-160,
    doi:10.1162/neco.1994.6.1.147.
    """

    learned: tuple[str, ...] = ()
    every: int = 20
    iterations: int = 5
    damping: float = 0.01
    tolerance: float = 0.1

    learns: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.iterations < 1:
            raise ValueError(f"iterations must be at least 1, got {self.iterations}")
        for name in ("damping", "tolerance"):
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
        outer = gradient_of(lambda: _validation_error(step), parameters)
        here = torch.autograd.grad(
            step.objective(), parameters, create_graph=True, allow_unused=True,
            materialize_grads=True,
        )  # fmt: skip

        def curved(vector: Gradient) -> Gradient:
            products = torch.autograd.grad(
                here, parameters, vector, retain_graph=True, allow_unused=True,
                materialize_grads=True,
            )  # fmt: skip
            return _add(products, self.damping, vector)

        count = int(step.memory.get(COUNT, torch.zeros(())))
        tolerance = self.tolerance * DECREASE**count
        start = _remembered(step, len(parameters))
        solved = conjugate_gradients(curved, outer, self.iterations, tolerance, start)
        step.memory.update({f"{SOLVED}{n}": part.detach() for n, part in enumerate(solved)})
        flat = tuple(part.detach() for part in here)
        for label in labels:
            slope = -float(_dot(solved, self._mixed(step, label, parameters, flat)))
            change = -step.strength * slope / _usual_length(step, label, slope, count)
            limited = max(-math.log(2), min(math.log(2), change))
            step.strengths[label] *= math.exp(limited)
        step.memory[COUNT] = torch.tensor(count + 1)

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


def conjugate_gradients(
    curved: Callable[[Gradient], Gradient],
    right: Gradient,
    iterations: int,
    tolerance: float = 1e-6,
    start: Gradient | None = None,
) -> Gradient:
    """Approximate ``x`` with ``curved(x) = right`` while the curvature is positive.

    From ``start``, or from zero where that is closer; to a residual of ``tolerance`` of the right
    side.
    """
    solved, residual = tuple(torch.zeros_like(r) for r in right), right
    first = size = _dot(right, right)
    if start is not None:
        left = _add(right, -1.0, curved(start))
        if _dot(left, left) < first:
            solved, residual, size = start, left, _dot(left, left)
    direction = residual
    for _ in range(iterations):
        if size <= tolerance**2 * first:
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


def _dot(a: Gradient, b: Gradient) -> Tensor:
    return torch.stack([(x * y).sum() for x, y in zip(a, b, strict=True)]).sum()


def _add(a: Gradient, scale: Tensor | float, b: Gradient) -> Gradient:
    return tuple(x + scale * y for x, y in zip(a, b, strict=True))
