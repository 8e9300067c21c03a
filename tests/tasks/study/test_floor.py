from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from synthct.tasks.evaluation.statistics.paired import difference_of_means, paired_bootstrap
from synthct.tasks.evaluation.statistics.two_level import run_noise, two_level_bootstrap
from synthct.tasks.study.choose import Job, Trial
from synthct.tasks.study.effects import effects
from synthct.tasks.study.page import verdict

FOLDS, EACH = 3, 4
SUMMARY = {"significance": 0.05}


def runs(rng, number):
    """RunScores of ``number`` runs of one recipe: a network's luck is shared by its patients."""
    luck = rng.normal(0, 1.0, (FOLDS, number)).repeat(EACH, axis=0)
    return 60 + luck + rng.normal(0, 0.5, (FOLDS * EACH, number))


GROUPS = np.arange(FOLDS).repeat(EACH)


def study(rng, *, seeds=1, replicates=1, gain=0.0):
    """Trials of a control, replicates of it and one arm that is ``gain`` better."""
    trials = []
    names = ["none", *(f"replicate-{n}" for n in range(1, replicates + 1)), "arm"]
    for name in names:
        scores = runs(rng, seeds) - (gain if name == "arm" else 0.0)
        for seed in range(seeds):
            for fold in range(FOLDS):
                rows = tuple(
                    {
                        "case": f"P{n:02}",
                        "reference": "truth",
                        "metric": "mae_hu",
                        "value": float(v),
                    }
                    for n, v in enumerate(scores[:, seed])
                    if GROUPS[n] == fold
                )
                trials.append(Trial(Job(name, "clean", None, fold, seed), 50.0, rows))
    found = effects(
        trials, reference="truth", metric="mae_hu", lower_is_better=True, seed=1, draws=300
    )
    return {effect.arm: effect for effect in found}


def excludes_zero(interval):
    return interval.low * interval.high > 0


def test_a_recipe_against_itself_is_not_called_an_effect_because_its_runs_had_luck():
    """Patients alone: most intervals of identical recipes exclude 0. With their runs: few."""
    rng = np.random.default_rng(0)
    alone = both = several = 0
    for _ in range(200):
        one, other, again = runs(rng, 3), runs(rng, 3), runs(rng, 1)
        first, second = one[:, 0], other[:, 0]
        draw = np.random.default_rng(1)
        alone += excludes_zero(
            paired_bootstrap(first, second, difference_of_means, draw, draws=300)
        )
        both += excludes_zero(
            two_level_bootstrap(
                (first - second)[:, None], GROUPS, draw, repeats=second[:, None] - again, draws=300
            )
        )
        several += excludes_zero(two_level_bootstrap(one - other, GROUPS, draw, draws=300))
    assert alone > 90
    assert both < 45
    assert several < 30


def test_of_identical_recipes_few_exceed_the_floor():
    rng = np.random.default_rng(1)
    found = [study(rng)["arm"] for _ in range(100)]
    assert sum(effect.above_floor for effect in found) <= 12
    assert sum(effect.shown for effect in found) <= 8


def test_an_effect_far_above_the_luck_of_training_is_still_found():
    rng = np.random.default_rng(2)
    found = [study(rng, replicates=3, gain=5.0)["arm"] for _ in range(30)]
    assert sum(effect.shown for effect in found) >= 27


def test_more_replicates_and_seeds_lower_the_floor():
    rng = np.random.default_rng(3)

    def usual(**design):
        return np.median([study(rng, **design)["arm"].floor for _ in range(30)])

    few = usual(replicates=1)
    assert usual(replicates=4) < few
    assert usual(replicates=1, seeds=3) < few


def test_without_a_second_run_the_floor_is_unknown_and_nothing_is_called_better():
    arm = study(np.random.default_rng(4), replicates=0, gain=5.0)["arm"]
    assert arm.floor is None
    assert verdict(replace(arm, adjusted_p=0.001), SUMMARY, higher_is_better=False) == (
        "run noise unknown"
    )


def test_a_difference_below_the_floor_is_no_verdict_however_small_its_p():
    arm = study(np.random.default_rng(5))["arm"]
    small = replace(arm, difference=-0.5, low=-0.6, high=-0.4, floor=1.0, adjusted_p=0.001)
    assert verdict(small, SUMMARY, higher_is_better=False) == "below the floor"
    large = replace(small, difference=-2.0, low=-2.5, high=-1.5)
    assert verdict(large, SUMMARY, higher_is_better=False) == "better"


def test_replicates_are_not_tests_that_the_arms_pay_for():
    found = study(np.random.default_rng(6), replicates=5)
    assert found["arm"].adjusted_p == found["arm"].p
    assert all(found[f"replicate-{n}"].p is None for n in range(1, 6))


def test_the_variance_of_a_mean_by_the_luck_of_training_is_recovered():
    rng = np.random.default_rng(7)
    luck = rng.normal(0, 2.0, (FOLDS, 4000)).repeat(EACH, axis=0)
    variance, freedom = run_noise(luck, GROUPS)
    assert variance == pytest.approx(2.0**2 / FOLDS, rel=0.05)
    assert freedom == FOLDS * 3999
    assert run_noise(luck[:, :1], GROUPS) == (0.0, 0)
