"""Effect of each arm: paired differences to the control on the same unseen patients."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from synthct.tasks.evaluation.statistics.paired import holm, wilcoxon_p
from synthct.tasks.evaluation.statistics.two_level import two_level_bootstrap
from synthct.tasks.pipeline.randomness import generator
from synthct.tasks.study.choose import Trial
from synthct.tasks.study.floor import RunScores, differences, floor, run_scores
from synthct.tasks.study.params import CONTROL, is_replicate


@dataclass(frozen=True)
class Effect:
    """One arm on one set of pairs.

    Parameters
    ----------
    mean, control
        Mean of the metric over test cases, of the arm and of the control.
    difference, low, high
        Arm minus control, and its two-level bootstrap interval (None: too few patients).
    p, adjusted_p
        p of Wilcoxon's signed-rank test, and after Holm's correction over the arms of these pairs.
        None for replicates, which test nothing.
    better
        Number of cases, of ``cases``, in which the arm is better.
    floor
        A smaller difference is one of training's randomness (:func:`floor`). None: unknown.
    metric
        What was measured.
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
    floor: float | None = None
    metric: str = "mae_hu"

    @property
    def above_floor(self) -> bool:
        """Whether the difference is larger than that of two runs of the same recipe."""
        return self.floor is not None and abs(self.difference) > self.floor

    @property
    def shown(self) -> bool:
        """Whether the interval excludes 0 and the difference is above the floor."""
        clear = self.low is not None and self.high is not None and self.low * self.high > 0
        return clear and self.above_floor and not is_replicate(self.arm)


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
    """Every arm and replicate against the control, one family of tests for each set of pairs."""
    rows: list[Effect] = []
    for pairs, found in run_scores(trials, reference=reference, metric=metric).items():
        least = floor(found)
        arms = list(dict.fromkeys(t.job.arm for t in trials if t.job.pairs == pairs))
        mine = [
            _effect(arm, pairs, found, least, metric, lower_is_better, seed, draws)
            for arm in arms
            if arm != CONTROL
        ]
        kept = [row for row in mine if row]
        adjusted = holm({row.arm: row.p for row in kept if row.p is not None})
        rows += [replace(row, adjusted_p=adjusted.get(row.arm)) for row in kept]
    return rows


def _effect(
    arm: str, pairs: str, found: RunScores, least: float | None, metric: str,
    lower_is_better: bool, seed: int, draws: int,
) -> Effect | None:  # fmt: skip
    cases, scores, control, repeats = differences(found, arm)
    if not cases or not scores.size or not control.size:
        return None
    ours, theirs = scores.mean(axis=1), control.mean(axis=1)
    paired = scores - control if scores.shape == control.shape else (ours - theirs)[:, None]
    interval = two_level_bootstrap(
        paired, found.groups(cases), generator(seed, "study", pairs, arm), repeats=repeats,
        draws=draws,
    )  # fmt: skip
    gained = theirs - ours if lower_is_better else ours - theirs
    return Effect(
        arm=arm,
        pairs=pairs,
        cases=len(cases),
        mean=float(ours.mean()),
        control=float(theirs.mean()),
        difference=interval.value,
        low=interval.low,
        high=interval.high,
        p=None if is_replicate(arm) else wilcoxon_p(ours, theirs),
        adjusted_p=None,
        better=int((gained > 0).sum()),
        floor=least,
        metric=metric,
    )


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
