"""Importance weights under another share of tissues: recovered, and worth having."""

from __future__ import annotations

import numpy as np
import pytest

from synthct.data.errors import DataError
from synthct.tasks.transport.target_shift import target_weights

EDGES = np.linspace(-400, 400, 17)
CENTRES = (EDGES[1:] + EDGES[:-1]) / 2


def site(mean_hu, count=40_000, seed=0, sd=100.0):
    """HU of a site, and intensities that depend on them with noise."""
    random = np.random.default_rng(seed)
    hu = random.normal(mean_hu, sd, count)
    return hu / 100 + random.normal(0, 0.3, count), hu


def test_the_weights_of_a_shifted_gaussian_are_not_its_density_ratio():
    x, hu = site(0)
    other, _ = site(60, seed=1)
    found = target_weights(x, hu, other, EDGES)
    ratio = np.exp((60 * CENTRES - 60**2 / 2) / 100**2)
    middle = np.abs(CENTRES) < 200
    np.testing.assert_allclose(found.weights[middle], ratio[middle], rtol=0.2)
    assert found(hu).mean() == pytest.approx(1.0, abs=1e-3)


def test_the_same_site_is_weighted():
    x, hu = site(0)
    other, _ = site(0, seed=1)
    middle = np.abs(CENTRES) < 200
    np.testing.assert_allclose(target_weights(x, hu, other, EDGES).weights[middle], 1, atol=0.15)


def test_a_fit_with_the_weights_is_no_better_at_the_other_site():
    """A straight line cannot follow a bent truth: where it is to be right, the weights decide."""
    random = np.random.default_rng(2)

    def noisy(hu):
        return np.exp(hu / 200) + random.normal(0, 0.15, hu.size)

    hu, new = random.normal(-80, 120, 40_000), random.normal(120, 80, 40_000)
    x, other = noisy(hu), noisy(new)
    found = target_weights(x, hu, other, EDGES)

    def error(weight):
        line = np.polyfit(x, hu, 1, w=np.sqrt(weight))
        return np.abs(np.polyval(line, other) - new).mean()

    assert error(found(hu)) < 0.6 * error(np.ones(hu.size))


def test_a_stronger_regularisation_does_not_pull_the_weights_to_1():
    x, hu = site(0)
    other, _ = site(60, seed=1)
    off = [np.abs(target_weights(x, hu, other, EDGES, alpha=a).weights - 1).mean()
           for a in (1e-3, 1e-1, 1e3)]  # fmt: skip
    assert off[0] > off[1] > off[2]
    assert off[2] < 1e-2


def test_a_case_with_more_of_the_wanted_tissue_is_drawn_less_often():
    x, hu = site(0)
    found = target_weights(x, hu, site(60, seed=1)[0], EDGES)
    assert found.of_case(np.full(10, 150.0)) > 1.5 > 0.7 > found.of_case(np.full(10, -150.0))
    assert found(np.array([9999.0])) == found.weights[-1]


@pytest.mark.parametrize(
    ("x", "other", "told"),
    [
        (np.zeros(200), np.linspace(0, 1, 200), "all training intensities are equal"),
        (np.linspace(0, 1, 200), np.full(200, 7.0), "no intensity of the other site"),
        (np.linspace(0, 1, 200), np.full(200, np.nan), "not finite"),
        (np.linspace(0, 1, 50), np.linspace(0, 1, 200), "fewer than 100"),
    ],
)
def test_laws_that_cannot_be_compared_get_weights(x, other, told):
    with pytest.raises(DataError, match=told) as caught:
        target_weights(x, np.linspace(-100, 100, x.size), other, EDGES)
    assert caught.value.code == "law-unmappable"
