"""Partial transport of intensity laws and its embedding."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from synthct.tasks.transport.partial import embed


def cost(reference, points, reach):
    """What the embedding says the transport from the reference costs."""
    return embed(reference, points, reach).distance(embed(reference, reference, reach), reach)


def test_a_shift_and_a_stranger_do_not_cost_what_a_hand_computes():
    found = embed(np.array([0.0, 1.0, 2.0]), np.array([0.1, 1.1, 9.0]), 0.5)
    np.testing.assert_allclose(found.moved, [0.1, 0.1, 0.0], atol=1e-12)
    assert found.kept.tolist() == [True, True, False]
    assert found.alone == 1


@given(st.integers(0, 10_000), st.integers(2, 6), st.integers(2, 6))
@settings(max_examples=25, deadline=None)
def test_the_embedding_is_not_as_far_as_partial_transport(seed, n, m):
    """Agrees with the linear program over plans whose sums are at most the masses."""
    random = np.random.default_rng(seed)
    x, y = np.sort(random.random(n)), np.sort(random.random(m))
    reach = 0.4
    price = (x[:, None] - y) ** 2 - reach**2  # lambda is half of it at either end
    most = np.vstack([np.kron(np.eye(n), np.ones(m)), np.kron(np.ones(n), np.eye(m))])
    exact = linprog(price.ravel(), A_ub=most, b_ub=np.ones(n + m)).fun + reach**2 / 2 * (n + m)
    assert cost(x, y, reach) == pytest.approx(exact, abs=1e-9)


def test_a_truncated_scan_is_farther_than_a_scan_of_another_contrast():
    """Muscle and fat; half of the fat lies outside the field of view."""
    law = np.concatenate([np.linspace(-0.6, -0.4, 60), np.linspace(1.4, 1.6, 40)])
    truncated = np.concatenate([law[:60], law[60::2]])
    assert embed(law, truncated, 0.3).alone == 0
    assert np.abs(embed(law, truncated, 0.3).moved).max() < 0.02
    other = embed(law, law * 1.5, 0.3)
    assert other.alone + np.abs(other.moved).sum() > 10
    balanced = np.quantile(truncated, (np.arange(100) + 0.5) / 100)
    assert np.abs(balanced - law).max() > 1  # what whole laws would say of it


def test_two_embeddings_are_not_as_far_as_their_displacements():
    reference = np.array([0.0, 10.0])
    first, second = (embed(reference, reference + by, 1.0) for by in (0.1, 0.4))
    assert first.distance(second, 1.0) == pytest.approx(2 * 0.3**2)
    lost = embed(reference, np.array([0.1]), 1.0)
    assert first.distance(lost, 1.0) == pytest.approx(0.5)
