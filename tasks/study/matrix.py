"""Registration bias: networks trained on one alignment and scored on another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from synthct.tasks.evaluation.statistics.two_level import two_level_bootstrap
from synthct.tasks.pipeline.randomness import generator
from synthct.tasks.study.choose import Trial
from synthct.tasks.study.effects import by_case
from synthct.tasks.study.floor import RunScores, differences, run_scores
from synthct.tasks.study.params import CONTROL


@dataclass(frozen=True)
class Cell:
    """The control arm, trained on ``trained_on`` and scored against ``scored_on``."""

    trained_on: str
    scored_on: str
    cases: int
    mean: float


@dataclass(frozen=True)
class Bias:
    """Advantage under a reference of networks trained on it over networks trained on another.

    ``difference`` is the mean over cases of (trained on ``scored_on``) - (trained on ``other``),
    both scored on ``scored_on``. Negative for an error such as MAE: the reference favours networks
    that were trained on it.
    """

    scored_on: str
    other: str
    difference: float
    low: float | None
    high: float | None


def matrix(trials: Sequence[Trial], *, references: Sequence[str], metric: str) -> list[Cell]:
    """Cells of every (pairs, reference)."""
    control = [trial for trial in trials if trial.job.arm == CONTROL]
    cells = []
    for pairs in dict.fromkeys(trial.job.pairs for trial in control):
        mine = [trial for trial in control if trial.job.pairs == pairs]
        for reference in references:
            scores = by_case(mine, reference=reference, metric=metric)
            if scores:
                mean = float(np.mean(list(scores.values())))
                cells.append(Cell(pairs, reference, len(scores), mean))
    return cells


def biases(
    trials: Sequence[Trial],
    *,
    alignment_of: Mapping[str, str],
    references: Sequence[str],
    metric: str,
    seed: int,
    draws: int,
) -> list[Bias]:
    """For each reference that is also an alignment of pairs: its networks against the others."""
    found = []
    for reference in references:
        scores = run_scores(trials, reference=reference, metric=metric)
        for own, ours in scores.items():
            if alignment_of[own] != reference:
                continue
            for other, theirs in scores.items():
                if alignment_of[other] != reference:
                    rng = generator(seed, "bias", reference, other)
                    found.append(_bias(reference, other, ours, theirs, rng, draws))
    return found


def _bias(
    reference: str, other: str, ours: RunScores, theirs: RunScores, rng: np.random.Generator,
    draws: int,
) -> Bias:  # fmt: skip
    """Both alignments train with the same seeds; replicates show the randomness of training."""
    runs = [run for run in ours.runs(CONTROL) if run in theirs.runs(CONTROL)]
    cases, own = ours.table(runs)
    shared, others = theirs.table(runs)
    both = [case for case in cases if case in shared]
    a = own[[cases.index(case) for case in both]]
    b = others[[shared.index(case) for case in both]]
    again, _, _, repeats = differences(ours, CONTROL)
    repeats = repeats[[again.index(case) for case in both if case in again]]
    interval = two_level_bootstrap(
        a - b,
        ours.groups(both),
        rng,
        repeats=repeats if len(repeats) == len(both) else None,
        draws=draws,
    )
    return Bias(reference, other, interval.value, interval.low, interval.high)
