"""Entropic optimal transport between two measures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from synthct.data.errors import UsageError

Floats = NDArray[np.float64]

TOTALS_DIFFER = 1e-6
"""Largest relative difference between the totals of two measures that are of equal mass."""


@dataclass(frozen=True, eq=False)
class Plan:
    """A transport plan and its solver's diagnostics.

    Parameters
    ----------
    mass
        Mass that goes from point *i* of the first measure to point *j* of the second (N, M).
    potentials
        Dual potentials *f* (N,) and *g* (M,) [unit of the cost], up to a constant.
    iterations
        Passes over the whole plan: of Sinkhorn's scaling, and of Newton's method.
    error
        Sum of the absolute differences between the plan's row sums and the first measure, as a
        fraction of the total mass. Column sums are exact.
    """

    mass: Floats
    potentials: tuple[Floats, Floats]
    iterations: int
    error: float

    def cost(self, cost: NDArray[Any]) -> float:
        r"""Mean cost :math:`\sum_{ij} P_{ij} C_{ij} / \sum_{ij} P_{ij}`."""
        return float((self.mass * cost).sum() / self.mass.sum())

    def barycentres(self, points: NDArray[Any]) -> Floats:
        """Mean target of each point's mass: (N, ...) from points (M, ...)."""
        share = self.mass / self.mass.sum(axis=1, keepdims=True)
        return np.tensordot(share, np.asarray(points, np.float64), axes=1)


@dataclass(frozen=True, eq=False)
class Problem:
    """An entropic transport problem whose measures are positive and of equal mass."""

    a: Floats
    b: Floats
    cost: Floats
    eps: float

    def mass(self, f: Floats, g: Floats) -> Floats:
        r""":math:`P_{ij} = a_i b_j e^{(f_i + g_j - C_{ij})/\varepsilon}` of two potentials."""
        exponent = (f[:, None] + g[None, :] - self.cost) / self.eps
        return self.a[:, None] * self.b[None, :] * np.exp(np.minimum(exponent, 700.0))

    def rows(self, g: Floats) -> Floats:
        """The potential *f* that makes all row sums exact."""
        return -self.eps * _log_mean((g - self.cost) / self.eps, self.b, axis=1)

    def columns(self, f: Floats) -> Floats:
        """The potential *g* that makes all column sums exact."""
        exponent = (f[:, None] - self.cost) / self.eps
        return -self.eps * _log_mean(exponent, self.a[:, None], axis=0)

    def row_error(self, mass: Floats) -> float:
        """Sum of the absolute errors of the row sums over the total mass."""
        return float(np.abs(mass.sum(axis=1) - self.a).sum() / self.a.sum())

    def plan(self, f: Floats, g: Floats, iterations: int) -> Plan:
        """The plan of two potentials."""
        mass = self.mass(f, g)
        return Plan(mass, (f, g), iterations, self.row_error(mass))


class Solver(Protocol):
    """Finds the plan of a problem."""

    def __call__(self, problem: Problem) -> Plan:
        """A plan whose error is at most the solver's tolerance; else ``transport-diverged``."""


def plan(a: NDArray[Any], b: NDArray[Any], cost: NDArray[Any], eps: float, solver: Solver) -> Plan:
    r"""Entropic transport plan between two measures.

    .. math:: \min_{P \ge 0} \; \langle P, C \rangle
              + \varepsilon\, \mathrm{KL}(P \,\|\, a b^T)
              \quad \text{with} \quad P 1 = a, \; P^T 1 = b

    Parameters
    ----------
    a, b
        Masses of the points of both measures (N,), (M,): not negative, of equal total. Points of
        no mass take part in no plan.
    cost
        Cost of moving a unit of mass from point *i* to point *j* (N, M).
    eps
        Strength of the entropy [unit of the cost]. The smaller, the sharper the plan and the
        slower Sinkhorn's algorithm.
    solver
        :class:`~synthct.tasks.transport.solvers.Sinkhorn` or
        :class:`~synthct.tasks.transport.solvers.SparseNewton`.

    Raises
    ------
    UsageError
        ``transport-input``: shapes that do not fit, masses that are negative, not finite or of
        different total, a cost that is not finite, an ``eps`` that is not positive.
    DataError
        ``transport-diverged``: the solver found no plan within its iterations.

    References
    ----------
    Cuturi, Sinkhorn Distances, NeurIPS 2013, arXiv:1306.0895.
    """
    a, b, cost = (np.asarray(values, np.float64) for values in (a, b, cost))
    _check(a, b, cost, eps)
    rows, columns = a > 0, b > 0
    weight = b[columns] * (a.sum() / b.sum())
    found = solver(Problem(a[rows], weight, cost[np.ix_(rows, columns)], float(eps)))
    mass = np.zeros(cost.shape)
    mass[np.ix_(rows, columns)] = found.mass
    f, g = np.zeros(a.size), np.zeros(b.size)
    f[rows], g[columns] = found.potentials
    return Plan(mass, (f, g), found.iterations, found.error)


def _log_mean(exponent: Floats, weight: Floats, axis: int) -> Floats:
    """Logarithm of the weighted sum of exponentials, without overflow."""
    top = exponent.max(axis=axis, keepdims=True)
    total = (weight * np.exp(exponent - top)).sum(axis=axis)
    return np.asarray(np.log(total) + np.squeeze(top, axis))


def _check(a: Floats, b: Floats, cost: Floats, eps: float) -> None:
    if a.ndim != 1 or b.ndim != 1 or cost.shape != (a.size, b.size):
        raise _wrong(
            f"the measures have shapes {a.shape} and {b.shape}, the cost {cost.shape}",
            "the cost of measures of N and M points is (N, M)",
        )
    for name, values in (("first", a), ("second", b)):
        if not np.isfinite(values).all() or values.min(initial=0.0) < 0 or not values.sum() > 0:
            raise _wrong(
                f"the masses of the {name} measure are negative, not finite, or all 0",
                "masses are finite and not negative, and their total is positive",
            )
    if abs(a.sum() - b.sum()) > TOTALS_DIFFER * max(a.sum(), b.sum()):
        raise _wrong(
            f"the totals of the measures are {a.sum():g} and {b.sum():g}",
            "both measures have the same total mass",
            "divide each by its total, or use the partial transport, which leaves mass behind",
        )
    if not np.isfinite(cost).all():
        raise _wrong("the cost is not finite everywhere", "a cost is a finite number")
    if not (np.isfinite(eps) and eps > 0):
        raise _wrong(f"eps is {eps!r}", "eps is a positive number in the unit of the cost")


def _wrong(problem: str, rule: str, remedy: str = "") -> UsageError:
    return UsageError(
        problem, rule=rule, where="transport plan", remedy=remedy, code="transport-input"
    )
