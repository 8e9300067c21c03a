"""Scores that depend on one voxel of the outline or of the registration are named."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthct.tasks.evaluation.params import EvaluationParams
from synthct.tasks.evaluation.stability import (
    UNCHANGED,
    icc_2_1,
    perturbed,
    scores_under,
    stability,
)

SHROUT = np.array(
    [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], float
)
"""Six targets and four judges: the table of Shrout & Fleiss (1979), whose ICC(2,1) is 0.29."""


def test_the_published_example_has_another_value():
    assert icc_2_1(SHROUT) == pytest.approx(0.29, abs=0.005)


def test_a_hand_value():
    # Rows 1, 3 and columns -1/2, +1/2: MS rows 4, MS columns 1, no rest: 4 / (4 + 2 * 1 / 2).
    assert icc_2_1(np.array([[0.5, 1.5], [2.5, 3.5]])) == pytest.approx(0.8)


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=9, unique=True), st.integers(2, 5))
def test_equal_columns_do_not_agree_fully(values, columns):
    table = np.repeat(np.array(values)[:, None], columns, axis=1)
    if np.ptp(table) > 1e-3:
        assert icc_2_1(table) == pytest.approx(1.0)


@pytest.mark.parametrize("table", [np.ones((3, 2)), np.ones((1, 4)), np.ones((4, 1))])
def test_a_table_without_variation_has_an_agreement(table):
    assert icc_2_1(table) is None


def test_a_perturbation_moves_the_reference_or_the_mask_by_more_than_a_voxel():
    reference = np.arange(4 * 7 * 7, dtype=float).reshape(4, 7, 7)
    inside = np.zeros(reference.shape, bool)
    inside[:, 2:5, 2:5] = True
    found = perturbed(reference, inside)
    assert found["smaller mask"][1].sum() == 4
    assert found["larger mask"][1].sum() == 4 * 25
    np.testing.assert_array_equal(
        found["reference one voxel along x"][0][..., 1:], reference[..., :-1]
    )
    np.testing.assert_array_equal(found[UNCHANGED][0], reference)


def case(seed, *, ripple):
    """Scores of a prediction with its own bias; ``ripple``: edges that a shift moves."""
    rng = np.random.default_rng(seed)
    reference = rng.normal(0, 5, (3, 24, 24))
    reference[:, :, ::2] += ripple
    prediction = reference + rng.uniform(-60, 60)
    inside = np.zeros(reference.shape, bool)
    inside[:, 4:20, 4:20] = True
    plan = EvaluationParams(metrics=("mae_hu", "me_hu")).as_json()
    return scores_under(reference, prediction, inside, (3.0, 1.0, 1.0), plan)


def test_a_score_that_hangs_on_the_registration_is_called_stable():
    smooth = stability([case(seed, ripple=0) for seed in range(8)])
    rough = stability([case(seed, ripple=300) for seed in range(8)])
    assert smooth["mae_hu"]["stable"] is True
    assert rough["mae_hu"]["stable"] is False
    assert rough["mae_hu"]["icc"]["masks"] > 0.95 > rough["mae_hu"]["icc"]["registration"]
    assert rough["me_hu"]["stable"] is True  # a ripple has no mean
    assert stability([case(seed, ripple=0) for seed in range(4)]) == {}
