"""Observed coverage of the intervals over patients, with its own confidence interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthct.tasks.evaluation.statistics.paired import MIN_CASES
from synthct.tasks.evaluation.uncertainty.conformal import (
    ALL,
    Guarantee,
    HalfWidths,
    calibrate,
    calibrate_leaving_one_out,
    covered_share,
)
from synthct.tasks.evaluation.uncertainty.histogram import ErrorCounts
from synthct.tasks.evaluation.uncertainty.resampled import resampled


@dataclass(frozen=True)
class Coverage:
    """Observed and nominal coverage over ``n`` patients.

    Parameters
    ----------
    low, high
        95 % bootstrap interval over patients; None for fewer than five.
    holds
        Whether the nominal coverage lies in it; None without an interval.
    half_width
        Mean half-width [HU, or factor of sigma]; None if a fold had too few patients.
    """

    nominal: float
    value: float
    n: int
    low: float | None
    high: float | None
    holds: bool | None
    half_width: float | None

    def as_json(self) -> dict[str, Any]:
        """Plain JSON."""
        return dict(vars(self))


def coverage_of(
    shares: Sequence[float], nominal: float, half_width: float | None, rng: np.random.Generator,
    *, draws: int = 2000,
) -> Coverage:  # fmt: skip
    """Mean coverage of patients with its percentile bootstrap interval."""
    values = np.asarray(shares, float)
    mean, n = float(values.mean()), len(values)
    wide = half_width if half_width is not None and np.isfinite(half_width) else None
    if n < MIN_CASES:
        return Coverage(nominal, mean, n, None, None, None, wide)
    low, high = _interval(values, rng, draws)
    return Coverage(nominal, mean, n, low, high, low <= nominal <= high, wide)


def split_coverage(
    calibration: Sequence[ErrorCounts],
    test: Sequence[ErrorCounts],
    nominal: float,
    rng: np.random.Generator,
    *,
    guarantee: Guarantee = "mean",
    draws: int = 2000,
) -> dict[str, Coverage]:
    """Calibrate on some patients, count on others: coverage by band and over ``all``.

    The nominal coverage is an expectation over draws of calibration *and* new patients, so the
    bootstrap resamples both: each sample draws calibration patients, computes the half-widths
    again, and counts on drawn test patients. An interval over test patients alone would mistake
    the sampling error of 24 calibration patients for a lack of coverage.
    """
    widths = calibrate(calibration, nominal, guarantee=guarantee)
    found = _gathered([(covered_share(patient, widths), widths) for patient in test], nominal, rng)
    drawn = resampled(calibration, test, nominal, rng, guarantee=guarantee, draws=draws)
    for name, one in found.items():
        if one.low is not None:
            low, high = (float(end) for end in np.nanpercentile(drawn[name], [2.5, 97.5]))
            found[name] = replace(one, low=low, high=high, holds=low <= nominal <= high)
    return found


def held_out_coverage(
    patients: Mapping[str, Sequence[ErrorCounts]],
    nominal: float,
    rng: np.random.Generator,
    *,
    guarantee: Guarantee = "mean",
) -> dict[str, Coverage]:
    """Each patient's cases against half-widths from all *other* patients; by band and ``all``.

    With few patients this uses each of them for both, but never a patient for itself.
    """
    if sum(bool(cases) for cases in patients.values()) < 2:
        return {}
    widths = calibrate_leaving_one_out(patients, nominal, guarantee=guarantee)
    covered = [
        (covered_share(case, widths[name]), widths[name])
        for name, own in patients.items()
        for case in own
    ]
    return _gathered(covered, nominal, rng)


def _gathered(
    covered: Sequence[tuple[Mapping[str, float], HalfWidths]],
    nominal: float,
    rng: np.random.Generator,
) -> dict[str, Coverage]:
    names = sorted({name for shares, _ in covered for name in shares}, key=lambda n: (n != ALL, n))
    found = {}
    for name in names:
        pairs = [(s[name], w.get(name, w[ALL])) for s, w in covered if name in s]
        width = float(np.mean([w for _, w in pairs]))
        found[name] = coverage_of([share for share, _ in pairs], nominal, width, rng)
    return found


def _interval(
    values: NDArray[np.float64], rng: np.random.Generator, draws: int
) -> tuple[float, float]:
    drawn = values[rng.integers(0, len(values), (draws, len(values)))].mean(axis=1)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(low), float(high)
