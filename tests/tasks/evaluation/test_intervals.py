"""Intervals over patients: paired, reproducible, honest about few."""

from __future__ import annotations

import numpy as np
import pytest

from synthct.tasks.evaluation.statistics.gain import gain_over_best
from synthct.tasks.evaluation.statistics.paired import (
    Interval,
    difference_of_means,
    paired_bootstrap,
    ratio_of_means,
)


def scores(n, seed=0, gain=0.5):
    rng = np.random.default_rng(seed)
    hard = rng.uniform(50, 150, n)
    return gain * hard + rng.normal(0, 1, n), hard


def test_a_ratio_is_of_means_and_the_same_seed_gives_the_same_interval():
    model, naive = scores(20)
    first = paired_bootstrap(model, naive, ratio_of_means, np.random.default_rng(1))
    again = paired_bootstrap(model, naive, ratio_of_means, np.random.default_rng(1))
    assert first == again
    assert first.value == pytest.approx(model.mean() / naive.mean())
    assert first.low < first.value < first.high


def test_pairing_takes_out_how_hard_a_patient_is():
    model, naive = scores(30, gain=1.0)
    paired = paired_bootstrap(model, naive, difference_of_means, np.random.default_rng(1))
    shuffled = np.random.default_rng(2).permutation(naive)
    broken = paired_bootstrap(model, shuffled, difference_of_means, np.random.default_rng(1))
    assert paired.high - paired.low < 0.1 * (broken.high - broken.low)


def test_the_interval_holds_the_true_difference_about_as_often_as_it_says():
    held = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        first, second = rng.normal(3, 1, 40), rng.normal(0, 1, 40)
        found = paired_bootstrap(first, second, difference_of_means, rng, draws=400)
        held += found.low <= 3 <= found.high
    assert 0.88 <= held / 200 <= 0.99


def test_four_patients_get_a_value_but_no_interval():
    model, naive = scores(4)
    found = paired_bootstrap(model, naive, ratio_of_means, np.random.default_rng(1))
    assert found == Interval(found.value, 4)
    assert found.as_json() == {"value": found.value, "n": 4}


def test_the_gain_is_over_the_best_baseline_and_not_over_a_weak_one():
    cases = [f"P{n}" for n in range(8)]
    offsets = np.linspace(-5, 5, 8)
    mae = {
        name: dict(zip(cases, value + offsets, strict=True))
        for name, value in {"model": 60, "constant": 300, "lookup": 120, "linear": 90}.items()
    }
    mae["unregistered"] = dict.fromkeys(cases, 1.0)  # the patient's own CT: no method
    gain = gain_over_best(mae, np.random.default_rng(1)).as_json()
    assert (gain["baseline"], gain["cases"]) == ("linear", 8)
    assert gain["ratio"] == pytest.approx(60 / 90, abs=1e-6)
    assert gain["low"] < gain["ratio"] < gain["high"] < 1


def test_cases_that_one_method_lacks_help_none_of_them():
    mae = {"model": {"A": 50.0, "B": 70.0}, "lookup": {"A": 90.0, "B": 110.0, "C": 1e4}}
    gain = gain_over_best(mae, np.random.default_rng(1)).as_json()
    assert (gain["cases"], gain["model_mae_hu"], gain["baseline_mae_hu"]) == (2, 60.0, 100.0)
    assert gain["high"] is None
    assert gain_over_best({"model": {"A": 50.0}}, np.random.default_rng(1)) is None
    assert gain_over_best({"model": {}, "raw": {"A": 1.0}}, np.random.default_rng(1)) is None
