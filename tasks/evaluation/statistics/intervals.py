"""How far a mean over few patients can be trusted: paired bootstrap intervals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEAST_CASES = 5
"""Fewer patients than this give no interval: their few resamplings only look precise."""


@dataclass(frozen=True)
class Interval:
    """A statistic of ``n`` patients with its percentile interval (none for too few)."""

    value: float
    n: int
    low: float | None = None
    high: float | None = None

    def as_json(self) -> dict[str, float | int]:
        """Without what is not known."""
        told = {"value": self.value, "n": self.n, "low": self.low, "high": self.high}
        return {name: number for name, number in told.items() if number is not None}


Statistic = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""Maps drawn samples (..., n, methods) to (...): vectorised over the draws."""


def ratio_of_means(samples: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean of the first column over mean of the second, (..., n, 2) -> (...)."""
    means = samples.mean(axis=-2)
    return np.asarray(means[..., 0] / means[..., 1])


def difference_of_means(samples: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean of the first column less mean of the second, (..., n, 2) -> (...)."""
    means = samples.mean(axis=-2)
    return np.asarray(means[..., 0] - means[..., 1])


def paired_bootstrap(
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    statistic: Statistic,
    rng: np.random.Generator,
    *,
    draws: int = 2000,
    coverage: float = 0.95,
) -> Interval:
    """Percentile interval of a statistic of paired scores, patients drawn with replacement.

    Both scores of a patient are drawn together, so what makes a patient hard cancels.

    Parameters
    ----------
    first, second
        (n,) scores of the same patients under two methods.

    References
    ----------
    Efron & Tibshirani, An Introduction to the Bootstrap (1993), chapter 13.
    """
    pairs = np.stack([np.asarray(first, float), np.asarray(second, float)], axis=1)
    n = len(pairs)
    value = float(statistic(pairs))
    if n < LEAST_CASES:
        return Interval(value, n)
    drawn = statistic(pairs[rng.integers(0, n, (draws, n))])
    tail = (1 - coverage) / 2 * 100
    low, high = np.percentile(drawn, [tail, 100 - tail])
    return Interval(value, n, float(low), float(high))
