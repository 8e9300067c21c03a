"""Effect of each arm: paired differences to the control on the same unseen patients."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np

from synthct.tasks.evaluation.statistics.paired import (
    difference_of_means,
    holm,
    paired_bootstrap,
    wilcoxon_p,
)
from synthct.tasks.pipeline.randomness import generator
from synthct.tasks.study.choose import Trial
from synthct.tasks.study.params import CONTROL

Scores = Mapping[str, float]
"""Value by case, the mean over seeds."""


@dataclass(frozen=True)
class Effect:
    """One arm on one set of pairs.

    Parameters
    ----------
    mean, control
        Mean of the metric over test cases, of the arm and of the control.
    difference, low, high
        Arm minus control, and its bootstrap interval over patients (None: too few).
    p, adjusted_p
        p of Wilcoxon's signed-rank test, and after Holm's correction over the arms of these pairs.
    better
        Number of cases, of ``cases``, in which the arm is better.
    """

    arm: str
    pairs: str
    cases: int
    mean: float
    control: float
    difference: float
    low: float | None
    high: float | None
    p: float | None
    adjusted_p: float | None
    better: int


def by_case(trials: Sequence[Trial], *, reference: str, metric: str) -> dict[str, float]:
    """The metric of every test case against a reference, mean over seeds, where it is defined."""
    found: dict[str, list[float]] = defaultdict(list)
    for trial in trials:
        for row in trial.scores:
            if (row["reference"], row["metric"]) == (reference, metric) and row[
                "value"
            ] is not None:
                found[row["case"]].append(row["value"])
    return {case: fmean(values) for case, values in sorted(found.items())}


def effects(
    trials: Sequence[Trial],
    *,
    reference: str,
    metric: str,
    lower_is_better: bool,
    seed: int,
    draws: int,
) -> list[Effect]:
    """Every arm against the control, one family of tests for each set of pairs."""
    cells: dict[tuple[str, str], list[Trial]] = defaultdict(list)
    for trial in trials:
        cells[trial.job.pairs, trial.job.arm].append(trial)
    measured = {
        cell: by_case(found, reference=reference, metric=metric) for cell, found in cells.items()
    }
    rows: list[Effect] = []
    for pairs in dict.fromkeys(pairs for pairs, _ in cells):
        control = measured.get((pairs, CONTROL), {})
        arms = {a: scores for (p, a), scores in measured.items() if p == pairs and a != CONTROL}
        p_values = {
            arm: p
            for arm, scores in arms.items()
            if (p := wilcoxon_p(*_aligned(scores, control))) is not None
        }
        adjusted = holm(p_values)
        for arm, scores in arms.items():
            ours, theirs = _aligned(scores, control)
            if len(ours):
                rng = generator(seed, "study", pairs, arm)
                found = paired_bootstrap(ours, theirs, difference_of_means, rng, draws=draws)
                gained = theirs - ours if lower_is_better else ours - theirs
                rows.append(
                    Effect(
                        arm=arm,
                        pairs=pairs,
                        cases=len(ours),
                        mean=float(ours.mean()),
                        control=float(theirs.mean()),
                        difference=found.value,
                        low=found.low,
                        high=found.high,
                        p=p_values.get(arm),
                        adjusted_p=adjusted.get(arm),
                        better=int((gained > 0).sum()),
                    )
                )
    return rows


def least_possible_p(cases: int, arms: int) -> float:
    """Smallest Holm-corrected two-sided p that ``cases`` pairs can give among ``arms`` tests.

    All differences have the same sign with probability ``2 / 2**n``; Holm multiplies the smallest
    p by the number of tests.

    >>> round(least_possible_p(12, 30), 4)
    0.0146
    >>> least_possible_p(5, 1)
    0.0625
    """
    return min(1.0, arms * 2.0 / 2.0**cases)


def _aligned(ours: Scores, theirs: Scores) -> tuple[Any, Any]:
    both = sorted(ours.keys() & theirs.keys())
    return np.array([ours[c] for c in both]), np.array([theirs[c] for c in both])
