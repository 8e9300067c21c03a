"""Entropic transport plans: hand values, agreement with a linear program, and both solvers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from synthct.data.errors import DataError, UsageError
from synthct.tasks.transport.plan import plan
from synthct.tasks.transport.solvers import Sinkhorn, SparseNewton

SOLVERS = {"sinkhorn": Sinkhorn(), "newton": SparseNewton(warm_up=5)}
each = pytest.mark.parametrize("solver", SOLVERS.values(), ids=SOLVERS)


def laws(count=24):
    """Two densities on [0, 1] and their squared distances."""
    x = np.linspace(0, 1, count)
    a = np.exp(-(((x - 0.3) / 0.1) ** 2)) + 0.05
    b = np.exp(-(((x - 0.6) / 0.15) ** 2)) + 0.3 * np.exp(-(((x - 0.2) / 0.05) ** 2)) + 0.02
    return a / a.sum(), b / b.sum(), (x[:, None] - x) ** 2


@each
def test_two_points_get_the_plan_that_a_hand_computes(solver):
    """Symmetric two by two: P = [[p, q], [q, p]] / 2 with p / q = e^(1 / eps), p + q = 1."""
    found = plan([0.5, 0.5], [0.5, 0.5], [[0.0, 1.0], [1.0, 0.0]], 0.5, solver)
    p = 1 / (1 + np.exp(-2.0))
    np.testing.assert_allclose(found.mass, [[p / 2, (1 - p) / 2], [(1 - p) / 2, p / 2]], atol=1e-8)
    assert found.cost(np.array([[0.0, 1.0], [1.0, 0.0]])) == pytest.approx(1 - p)


@each
def test_at_small_eps_the_cost_is_not_that_of_the_linear_program(solver):
    a, b, cost = laws(12)
    rows = np.kron(np.eye(12), np.ones(12))
    columns = np.kron(np.ones(12), np.eye(12))
    exact = linprog(cost.ravel(), A_eq=np.vstack([rows, columns]), b_eq=np.concatenate([a, b]))
    found = plan(a, b, cost, 1e-3, solver)
    assert exact.fun <= found.cost(cost) <= exact.fun + 1e-3


def test_newton_finds_another_plan_than_sinkhorn_or_is_no_faster():
    a, b, cost = laws()
    slow, fast = (plan(a, b, cost, 5e-4, one) for one in (Sinkhorn(), SparseNewton()))
    np.testing.assert_allclose(fast.mass, slow.mass, atol=1e-8)
    assert fast.iterations <= slow.iterations / 10


@each
def test_points_without_mass_get_mass_or_break_the_logarithms(solver):
    a, b, cost = laws(12)
    a[3] = b[7] = 0
    found = plan(a / a.sum(), b / b.sum(), cost, 0.05, solver)
    assert found.mass[3].sum() == found.mass[:, 7].sum() == 0
    np.testing.assert_allclose(found.mass.sum(axis=0), b / b.sum(), atol=1e-8)


@given(seed=st.integers(0, 10_000), shift=st.floats(-5, 5), scale=st.floats(0.1, 100))
@settings(max_examples=10, deadline=None)
def test_the_plan_depends_on_a_constant_of_the_cost_or_on_the_unit_of_mass(seed, shift, scale):
    random = np.random.default_rng(seed)
    a, b, cost = random.random(5) + 0.1, random.random(4) + 0.1, random.random((5, 4))
    a, b = a / a.sum(), b / b.sum()
    plain = plan(a, b, cost, 0.2, Sinkhorn())
    other = plan(scale * a, scale * b, cost + shift, 0.2, Sinkhorn())
    np.testing.assert_allclose(other.mass, scale * plain.mass, atol=1e-7 * scale)


def test_the_barycentres_of_a_translation_are_not_the_translated_points():
    points = np.array([0.0, 1.0, 2.0])
    cost = (points[:, None] - (points + 5)) ** 2
    found = plan(np.ones(3), np.ones(3), cost, 0.01, SparseNewton())
    np.testing.assert_allclose(found.barycentres(points + 5), points + 5, atol=1e-6)


@pytest.mark.parametrize(
    ("a", "b", "cost", "eps", "told"),
    [
        ([1.0], [1.0], [[0.0, 1.0]], 1.0, "shapes"),
        ([-1.0, 2.0], [1.0], [[0.0], [1.0]], 1.0, "first measure are negative"),
        ([1.0], [0.0], [[0.0]], 1.0, "second measure are negative, not finite, or all 0"),
        ([1.0], [2.0], [[0.0]], 1.0, "totals"),
        ([1.0], [1.0], [[np.nan]], 1.0, "not finite"),
        ([1.0], [1.0], [[0.0]], 0.0, "eps is 0"),
    ],
)
def test_measures_that_have_no_plan_are_taken(a, b, cost, eps, told):
    with pytest.raises(UsageError, match=told) as caught:
        plan(a, b, cost, eps, Sinkhorn())
    assert caught.value.code == "transport-input"


@pytest.mark.parametrize("solver", [Sinkhorn(iterations=3), SparseNewton(iterations=3)])
def test_a_plan_that_did_not_converge_is_returned(solver):
    a, b, cost = laws()
    with pytest.raises(DataError, match="after 3 passes") as caught:
        plan(a, b, cost, 1e-3, solver)
    assert caught.value.code == "transport-diverged"
