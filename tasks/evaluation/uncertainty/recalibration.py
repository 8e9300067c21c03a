"""Quantile recalibration: the factor that turns a spread into a calibrated interval."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import norm

from synthct.tasks.evaluation.uncertainty.histogram import EDGES, ErrorCounts

LEVELS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
"""Nominal coverages at which calibration is reported."""

MIN_SD_HU = 1.0
"""Smallest standard deviation used [HU]: a spread of 0 would claim an exact prediction."""


def observed_levels(patients: Sequence[ErrorCounts]) -> list[tuple[float, float]]:
    r"""(nominal, observed) coverage of :math:`|e| \le \Phi^{-1}((1 + p)/2)\,\sigma`.

    ``patients`` hold :math:`|e|/\sigma`; observed is the mean over patients. Observed below
    nominal: the spread is overconfident.
    """
    return [
        (level, float(np.mean([_share(p, float(norm.ppf((1 + level) / 2))) for p in patients])))
        for level in LEVELS
    ]


def recalibrated(
    patients: Sequence[ErrorCounts], levels: Sequence[float] = LEVELS
) -> list[tuple[float, float]]:
    r"""(nominal, factor): the multiple of :math:`\sigma` whose mean coverage is the nominal one.

    The factor replaces the normal quantile :math:`\Phi^{-1}((1 + p)/2)`; it rises with the level.

    References
    ----------
    Kuleshov, Fenner & Ermon, ICML (2018) 2796-2804.
    """
    shares = np.mean([np.cumsum(p.total()) / max(1, p.total().sum()) for p in patients], axis=0)
    last = len(EDGES) - 1
    return [
        (level, float(EDGES[min(int(np.searchsorted(shares, level - 1e-12)), last)]))
        for level in levels
    ]


def _share(patient: ErrorCounts, factor: float) -> float:
    counts = patient.total()
    return float(counts[factor >= EDGES].sum() / max(1, counts.sum()))
