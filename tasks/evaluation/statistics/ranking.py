"""Ranking of methods over several metrics, as published by the challenge and corrected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

Rule = Literal["corrected", "as_published"]

HIGHER_IS_BETTER = (
    "psnr_db",
    "ms_ssim",
    "ssim_2023",
    "dice",
    "bone_dice",
    "surface_dice",
    "completeness",
)
"""Prefixes of metrics for which higher is better; for all others lower is."""

PUBLISHED_LOWER = ("ms_ssim", "dice")
"""Metrics that the published SynthRAD2025 script ranks in the wrong direction."""

Scores = Mapping[str, Mapping[str, float]]
"""Method to metric to mean score."""


def higher_is_better(metric: str, rule: Rule = "corrected") -> bool:
    """Whether a higher value of the metric is better under the rule."""
    if rule == "as_published" and metric.startswith(PUBLISHED_LOWER):
        return False
    return metric.startswith(HIGHER_IS_BETTER)


def rank(scores: Scores, metrics: Sequence[str], rule: Rule = "corrected") -> dict[str, float]:
    """Mean over metrics of the rank of each method (1 is best, ties share their mean rank).

    A method without a score in a metric ranks last in it. ``as_published`` treats MS-SSIM and Dice
    as lower-is-better, only to replicate the published table.
    """
    methods = sorted(scores)
    if not methods or not metrics:
        return {}
    places = [_places(scores, methods, metric, rule) for metric in metrics]
    return dict(zip(methods, np.mean(places, axis=0).tolist(), strict=True))


def rank_stability(
    cases: Mapping[str, Mapping[str, Sequence[float]]],
    metrics: Sequence[str],
    rng: np.random.Generator,
    *,
    draws: int = 1000,
) -> dict[str, float]:
    """Share of bootstrap draws of patients in which each method ranks first.

    Parameters
    ----------
    cases
        Method to metric to the scores of the same patients in the same order.
    """
    methods = sorted(cases)
    n = len(next(iter(next(iter(cases.values())).values())))
    wins = dict.fromkeys(methods, 0.0)
    for _ in range(draws):
        drawn = rng.integers(0, n, n)
        means = {
            method: {m: float(np.asarray(cases[method][m])[drawn].mean()) for m in metrics}
            for method in methods
        }
        places = rank(means, metrics)
        best = min(places.values())
        first = [method for method in methods if places[method] == best]
        for method in first:
            wins[method] += 1 / len(first)
    return {method: count / draws for method, count in wins.items()}


def _places(scores: Scores, methods: Sequence[str], metric: str, rule: Rule) -> NDArray[np.float64]:
    sign = -1.0 if higher_is_better(metric, rule) else 1.0
    values = [sign * scores[method].get(metric, np.inf * sign) for method in methods]
    return np.asarray(rankdata(values))
