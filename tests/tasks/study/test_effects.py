from __future__ import annotations

import numpy as np
import pytest

from synthct.tasks.study.choose import Job, Trial, chosen
from synthct.tasks.study.effects import effects, least_possible_p
from synthct.tasks.study.figure import scatter
from synthct.tasks.study.matrix import biases, matrix

PATIENTS = 12


def trial(arm, values, *, pairs="clean", weight=None, fold=0, seed=0, validation=50.0, on="truth"):
    scores = tuple(
        {"case": case, "reference": on, "metric": "mae_hu", "value": value}
        for case, value in values.items()
    )
    return Trial(Job(arm, pairs, weight, fold, seed), validation, scores)


def cases(base, shift=0.0, spread=0.0):
    rng = np.random.default_rng(3)
    noise = rng.uniform(-spread, spread, PATIENTS)
    return {f"P{n}": base + 10.0 * n + shift + noise[n] for n in range(PATIENTS)}


def measured(trials):
    found = effects(
        trials, reference="truth", metric="mae_hu", lower_is_better=True, seed=1, draws=500
    )
    return {effect.arm: effect for effect in found}


def test_an_arm_that_helps_every_patient_a_little_is_found_though_patients_differ_a_lot():
    found = measured([trial("none", cases(60.0)), trial("good", cases(60.0, -2.0, spread=0.5))])
    good = found["good"]
    assert good.difference == pytest.approx(-2.0, abs=0.5)
    assert good.low < good.difference < good.high < 0
    assert good.adjusted_p == pytest.approx(2 / 2**PATIENTS)
    assert (good.better, good.cases) == (PATIENTS, PATIENTS)


def test_an_arm_that_changes_nothing_is_not_called_better():
    found = measured([trial("none", cases(60.0)), trial("same", cases(60.0, spread=1.0))])
    assert found["same"].low < 0 < found["same"].high
    assert found["same"].adjusted_p > 0.05


def test_many_arms_pay_for_being_many():
    good = trial("good", cases(60.0, -2.0, spread=0.5))
    idle = [trial(f"idle{n}", cases(60.0, 0.01 * n, spread=1.0)) for n in range(9)]
    alone = measured([trial("none", cases(60.0)), good])["good"]
    among = measured([trial("none", cases(60.0)), good, *idle])["good"]
    assert among.p == alone.p
    assert among.adjusted_p == pytest.approx(10 * alone.adjusted_p)


def test_seeds_are_averaged_before_patients_are_compared():
    none = [trial("none", {"P0": 10.0}, seed=0), trial("none", {"P0": 20.0}, seed=1)]
    arm = [trial("a", {"P0": 11.0}, seed=0), trial("a", {"P0": 13.0}, seed=1)]
    found = measured([*none, *arm])["a"]
    assert (found.control, found.mean, found.difference) == (15.0, 12.0, -3.0)
    assert found.p is None  # one patient is no test
    assert found.low is None


def test_a_strength_is_never_chosen_by_its_test_scores():
    weak = trial("a", {"P0": 1.0}, weight=0.1, validation=60.0)
    strong = trial("a", {"P0": 99.0}, weight=1.0, validation=50.0)
    assert chosen([weak, strong]) == [strong]


def test_each_fold_chooses_for_itself_and_equals_go_to_the_weaker():
    first = [trial("a", {}, weight=w, fold=0, validation=v) for w, v in ((1.0, 5.0), (0.1, 5.0))]
    second = [trial("a", {}, weight=w, fold=1, validation=v) for w, v in ((1.0, 4.0), (0.1, 5.0))]
    kept = {(t.job.fold, t.job.weight) for t in chosen([*first, *second])}
    assert kept == {(0, 0.1), (1, 1.0)}


def test_a_study_too_small_to_find_anything_says_so():
    assert least_possible_p(5, 1) > 0.05
    assert least_possible_p(12, 30) < 0.05
    assert least_possible_p(12, 110) > 0.05


def test_networks_look_best_on_the_alignment_they_were_trained_with():
    rows = []
    for pairs in ("a", "b"):
        for on in ("a", "b"):
            shift = 0.0 if pairs == on else 5.0
            rows.append(trial("none", cases(60.0, shift), pairs=pairs, on=on))
    cells = matrix(rows, references=("a", "b"), metric="mae_hu")
    means = {(cell.trained_on, cell.scored_on): cell.mean for cell in cells}
    assert means["a", "b"] - means["a", "a"] == pytest.approx(5.0)
    found = biases(
        rows, alignment_of={"a": "a", "b": "b"}, references=("a", "b"), metric="mae_hu", seed=1,
        draws=200,
    )  # fmt: skip
    assert [(b.scored_on, b.other, round(b.difference, 6)) for b in found] == [
        ("a", "b", -5.0),
        ("b", "a", -5.0),
    ]


def test_the_cost_of_one_or_two_arms_is_not_drawn():
    found = measured([trial(name, cases(60.0)) for name in ("none", "a", "b", "c")])
    prices = {"a": 1.0, "b": 1.5, "c": 2.0}
    two = [found["a"], found["b"]]
    assert scatter(two, prices, unit="HU", alt="few") == ""
    assert scatter([*two, found["c"]], prices, unit="HU", alt="enough").count("<circle") == 3
