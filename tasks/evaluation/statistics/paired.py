"""Paired comparison over patients: bootstrap intervals, Wilcoxon's test, Holm's correction."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

MIN_CASES = 5
"""Fewer patients than this give no interval: a bootstrap of so few is misleadingly precise."""


@dataclass(frozen=True)
class Interval:
    """A statistic of ``n`` patients with its percentile interval (None for too few)."""

    value: float
    n: int
    low: float | None = None
    high: float | None = None

    def as_json(self) -> dict[str, float | int]:
        """Plain JSON, without unknown limits."""
        fields = {"value": self.value, "n": self.n, "low": self.low, "high": self.high}
        return {name: number for name, number in fields.items() if number is not None}


Statistic = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""Maps drawn samples (..., n, methods) to (...): vectorised over the draws."""


def ratio_of_means(samples: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean of the first column over mean of the second, (..., n, 2) -> (...)."""
    means = samples.mean(axis=-2)
    return np.asarray(means[..., 0] / means[..., 1])


def difference_of_means(samples: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean of the first column minus mean of the second, (..., n, 2) -> (...)."""
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

    Both scores of a patient are drawn together, so the difficulty of a patient cancels.

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
    if n < MIN_CASES:
        return Interval(value, n)
    drawn = statistic(pairs[rng.integers(0, n, (draws, n))])
    tail = (1 - coverage) / 2 * 100
    low, high = np.percentile(drawn, [tail, 100 - tail])
    return Interval(value, n, float(low), float(high))


MIN_PAIRS = 6
"""With five patients the smallest two-sided p is 1/16, so nothing can be significant at 5 %."""


def wilcoxon_p(first: NDArray[Any], second: NDArray[Any]) -> float | None:
    """Two-sided p of Wilcoxon's signed-rank test on paired scores; None for too few patients.

    Exact without ties and with at most 50 pairs. Zero differences are handled by Pratt's method;
    if all are zero, p is 1.

    References
    ----------
    Wilcoxon, Biometrics Bulletin 1 (1945) 80-83; Pratt, JASA 54 (1959) 655-667.
    """
    difference = np.asarray(first, float) - np.asarray(second, float)
    if len(difference) < MIN_PAIRS:
        return None
    if not difference.any():
        return 1.0
    from scipy.stats import wilcoxon

    return float(wilcoxon(difference, zero_method="pratt").pvalue)


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    r"""Holm's adjusted p of a family: :math:`\max_{j \le i} \min(1, (m - j + 1)\,p_{(j)})`.

    References
    ----------
    Holm, Scandinavian Journal of Statistics 6 (1979) 65-70.
    """
    adjusted: dict[str, float] = {}
    largest = 0.0
    for rank, name in enumerate(sorted(p_values, key=lambda name: (p_values[name], name))):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[name]))
        adjusted[name] = largest
    return adjusted
