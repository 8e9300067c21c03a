"""The floor: difference between runs of one recipe, below which an effect says nothing."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from synthct.tasks.evaluation.statistics.two_level import run_noise
from synthct.tasks.study.choose import Trial
from synthct.tasks.study.params import CONTROL, is_replicate

Run = tuple[str, int]
"""Arm and seed."""


@dataclass(frozen=True, eq=False)
class RunScores:
    """Scores of one metric under one set of pairs: by case and run; and the fold of each case."""

    values: Mapping[str, Mapping[Run, float]]
    folds: Mapping[str, int]

    def table(self, runs: Sequence[Run]) -> tuple[list[str], NDArray[np.float64]]:
        """The cases that all these runs scored, and their scores (cases, runs)."""
        cases = [case for case, found in self.values.items() if all(run in found for run in runs)]
        rows = [[self.values[case][run] for run in runs] for case in cases]
        return cases, np.array(rows, float).reshape(len(cases), len(runs))

    def groups(self, cases: Sequence[str]) -> NDArray[np.int64]:
        """Fold of each case."""
        return np.array([self.folds[case] for case in cases], np.int64)

    def runs(self, arm: str) -> list[Run]:
        """Every run of an arm, by seed."""
        return sorted({run for found in self.values.values() for run in found if run[0] == arm})


def run_scores(trials: Sequence[Trial], *, reference: str, metric: str) -> dict[str, RunScores]:
    """For each set of pairs the scores of all arms, where they are defined."""
    values: dict[str, dict[str, dict[Run, float]]] = defaultdict(lambda: defaultdict(dict))
    folds: dict[str, dict[str, int]] = defaultdict(dict)
    for trial in trials:
        job = trial.job
        for row in trial.scores:
            if (row["reference"], row["metric"]) == (reference, metric):
                if row["value"] is not None:
                    values[job.pairs][row["case"]][job.arm, job.seed] = row["value"]
                folds[job.pairs][row["case"]] = job.fold
    return {
        pairs: RunScores({case: found[case] for case in sorted(found)}, folds[pairs])
        for pairs, found in values.items()
    }


def floor(found: RunScores) -> float | None:
    r"""Smallest difference that a repeat of the control exceeds in 5 % of studies; None: unknown.

    :math:`t_{0.975,\nu} \sqrt{2 v / S}` with *v* the variance of :func:`run_noise` over all runs of
    the control and its replicates, :math:`\nu` its degrees of freedom, and *S* seeds of an arm. An
    arm shares its seed with the control, which replicates do not, so the floor is an upper bound.
    """
    control = found.runs(CONTROL)
    arms = {arm for case in found.values.values() for arm, _ in case}
    again = [run for arm in sorted(arms) if is_replicate(arm) for run in found.runs(arm)]
    cases, scores = found.table([*control, *again])
    variance, freedom = run_noise(scores, found.groups(cases))
    if not freedom:
        return None
    from scipy.stats import t

    return float(t.ppf(0.975, freedom)) * math.sqrt(2 * variance / len(control))


def differences(
    found: RunScores, arm: str
) -> tuple[list[str], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Cases, scores of the arm and of the control (cases, seeds), and repeats (cases, R).

    Repeats are control minus replicate at the control's seeds; empty where there are none.
    """
    ours, theirs = found.runs(arm), found.runs(CONTROL)
    if not is_replicate(arm):
        shared = sorted({seed for _, seed in ours} & {seed for _, seed in theirs})
        ours, theirs = [(arm, seed) for seed in shared], [(CONTROL, seed) for seed in shared]
    again = sorted({run for case in found.values.values() for run in case if is_replicate(run[0])})
    again = [run for run in again if (CONTROL, run[1]) in theirs]
    base = [(CONTROL, seed) for _, seed in again]
    cases, scores = found.table([*ours, *theirs, *again, *base])
    a, b, c = len(ours), len(ours) + len(theirs), len(ours) + len(theirs) + len(again)
    return cases, scores[:, :a], scores[:, a:b], scores[:, c:] - scores[:, b:c]
