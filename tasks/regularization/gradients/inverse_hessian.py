"""Products with the inverse of a Hessian that is known by its products with vectors."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from synthct.tasks.regularization.gradients.displaced import Gradient


def conjugate_gradients(
    curved: Callable[[Gradient], Gradient],
    right: Gradient,
    iterations: int,
    tolerance: float = 1e-6,
    start: Gradient | None = None,
) -> Gradient:
    """Approximate ``x`` with ``curved(x) = right`` while the curvature is positive.

    From ``start``, or from zero where that is closer; to a residual of ``tolerance`` of the right
    side. Where the curvature along the very first direction from zero is negative, the solution is
    a step along it by the curvature's size, as in saddle-free Newton (arXiv:1406.2572): zero would
    be no answer.
    """
    solved, residual = tuple(torch.zeros_like(r) for r in right), right
    begun = False
    first = size = dot(right, right)
    if start is not None:
        left = add(right, -1.0, curved(start))
        if dot(left, left) < first:
            solved, residual, size, begun = start, left, dot(left, left), True
    direction = residual
    for _ in range(iterations):
        if size <= tolerance**2 * first:
            break
        bent = curved(direction)
        curvature = dot(direction, bent)
        if curvature <= 0:
            if not begun:
                length = size / curvature.abs() if curvature < 0 else torch.ones_like(size)
                solved = add(solved, length, direction)
            break
        begun = True
        solved = add(solved, size / curvature, direction)
        residual = add(residual, -size / curvature, bent)
        before, size = size, dot(residual, residual)
        direction = add(residual, size / before, direction)
    return solved


def neumann_series(
    curved: Callable[[Gradient], Gradient],
    right: Gradient,
    iterations: int,
    rate: float,
    tolerance: float = 1e-6,
) -> Gradient:
    r"""Approximate ``x`` with ``curved(x) = right`` by :math:`a \sum_j (I - aH)^j b`.

    *a* is ``rate``, *b* the right side and *H* ``curved``, of which ``iterations`` products are
    taken. It ends where a term is below ``tolerance`` of the first, and where terms grow: with a
    curvature above 2 / *a*, or a negative one, the series diverges.
    """
    term, solved = right, tuple(rate * r for r in right)
    first = size = dot(right, right)
    for _ in range(iterations):
        term = add(term, -rate, curved(term))
        before, size = size, dot(term, term)
        if size > before:
            break
        solved = add(solved, rate, term)
        if size <= tolerance**2 * first:
            break
    return solved


def dot(a: Gradient, b: Gradient) -> Tensor:
    """Inner product of all tensors taken as one vector; a scalar."""
    return torch.stack([(x * y).sum() for x, y in zip(a, b, strict=True)]).sum()


def add(a: Gradient, scale: Tensor | float, b: Gradient) -> Gradient:
    """``a + scale * b``."""
    return tuple(x + scale * y for x, y in zip(a, b, strict=True))
