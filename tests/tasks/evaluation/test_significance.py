"""Tests over few patients: exact, corrected for how many were made, silent below six."""

from __future__ import annotations

import numpy as np
import pytest

from synthct.tasks.evaluation.statistics.paired import holm, wilcoxon_p


def test_six_patients_all_better_have_the_exact_p_of_two_in_sixty_four():
    model = np.arange(6.0)
    naive = model + np.arange(1.0, 7.0)
    assert wilcoxon_p(model, naive) == pytest.approx(2 / 64)
    assert wilcoxon_p(naive, model) == pytest.approx(2 / 64)


def test_five_patients_can_show_nothing_and_equal_scores_differ_in_nothing():
    assert wilcoxon_p(np.zeros(5), np.ones(5)) is None
    assert wilcoxon_p(np.ones(9), np.ones(9)) == 1


def test_holm_by_hand():
    found = holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.6})
    assert found == pytest.approx({"a": 0.04, "b": 0.09, "c": 0.09, "d": 0.6})
    assert holm({"a": 0.7, "b": 0.8}) == {"a": 1.0, "b": 1.0}
    assert holm({}) == {}


def test_holm_keeps_false_alarms_of_a_family_rare():
    rng = np.random.default_rng(0)
    alarms = 0
    for _ in range(150):
        p = {name: wilcoxon_p(rng.normal(size=12), rng.normal(size=12)) for name in "abcd"}
        alarms += min(holm(p).values()) < 0.05
    assert alarms <= 14  # 5 % of 150 is 7.5; 14 is beyond two standard deviations
