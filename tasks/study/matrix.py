"""Registration bias: networks trained on one alignment and scored on another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from synthct.tasks.evaluation.statistics.paired import difference_of_means, paired_bootstrap
from synthct.tasks.pipeline.randomness import generator
from synthct.tasks.study.choose import Trial
from synthct.tasks.study.effects import by_case
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


def matrix(
    trials: Sequence[Trial], *, references: Sequence[str], metric: str
) -> tuple[list[Cell], dict[tuple[str, str], dict[str, float]]]:
    """Cells of every (pairs, reference), and the scores by case behind each."""
    control = [trial for trial in trials if trial.job.arm == CONTROL]
    cells, behind = [], {}
    for pairs in dict.fromkeys(trial.job.pairs for trial in control):
        mine = [trial for trial in control if trial.job.pairs == pairs]
        for reference in references:
            scores = by_case(mine, reference=reference, metric=metric)
            if scores:
                behind[pairs, reference] = scores
                mean = float(np.mean(list(scores.values())))
                cells.append(Cell(pairs, reference, len(scores), mean))
    return cells, behind


def biases(
    behind: dict[tuple[str, str], dict[str, float]],
    *,
    alignment_of: dict[str, str],
    seed: int,
    draws: int,
) -> list[Bias]:
    """For each reference that is also an alignment of pairs: its networks against the others."""
    found = []
    for (own, reference), scores in behind.items():
        if alignment_of[own] != reference:
            continue
        for (other, same), others in behind.items():
            if same != reference or other == own or alignment_of[other] == reference:
                continue
            found.append(_bias(reference, other, scores, others, seed, draws))
    return found


def _bias(
    reference: str, other: str, own: dict[str, float], others: dict[str, float], seed: int,
    draws: int,
) -> Bias:  # fmt: skip
    both = sorted(own.keys() & others.keys())
    a: Any = np.array([own[case] for case in both])
    b: Any = np.array([others[case] for case in both])
    rng = generator(seed, "bias", reference, other)
    interval = paired_bootstrap(a, b, difference_of_means, rng, draws=draws)
    return Bias(reference, other, interval.value, interval.low, interval.high)
