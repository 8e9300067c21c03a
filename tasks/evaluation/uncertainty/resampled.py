"""Bootstrap of the coverage over both the calibration patients and the new patients."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from synthct.tasks.evaluation.uncertainty.conformal import (
    ALL,
    MIN_PATIENTS,
    Guarantee,
    required_share,
)
from synthct.tasks.evaluation.uncertainty.histogram import COUNT, ErrorCounts

Floats = NDArray[np.float64]


def resampled(
    calibration: Sequence[ErrorCounts],
    test: Sequence[ErrorCounts],
    nominal: float,
    rng: np.random.Generator,
    *,
    guarantee: Guarantee,
    draws: int,
) -> dict[str, Floats]:
    """Mean coverage of drawn test patients under half-widths from drawn calibration patients.

    By band and ``all``, (draws,) each: ``calibrate`` and ``covered_share`` of every draw,
    vectorised on the patients' cumulative counts. NaN where no drawn test patient has the band.
    """
    known, new = _draw(len(calibration), draws, rng), _draw(len(test), draws, rng)
    names = sorted({name for patient in test for name in patient.bands})
    of_all = _reached(
        np.array([_cumulated(p.total()) for p in calibration]), known, nominal, guarantee
    )
    shares: dict[str, Floats] = {}
    inside = np.zeros((draws, len(test)))
    for name in names:
        at = of_all
        own = [n for n, patient in enumerate(calibration) if name in patient.bands]
        if own:
            curves = np.array([_cumulated(calibration[n].bands[name]) for n in own])
            enough = known[:, own].sum(axis=1) >= MIN_PATIENTS
            at = np.where(enough, _reached(curves, known[:, own], nominal, guarantee), of_all)
        counts = np.array([patient.bands.get(name, _NONE) for patient in test])
        within = np.cumsum(counts, axis=1)[:, at].T.astype(np.float64)
        voxels = counts.sum(axis=1)
        shares[name] = _mean(within / np.maximum(voxels, 1), new * (voxels > 0))
        inside += within
    voxels = np.array([patient.total().sum() for patient in test])
    shares[ALL] = _mean(inside / np.maximum(voxels, 1), new * (voxels > 0))
    return shares


_NONE = np.zeros(COUNT + 1, np.int64)


def _draw(count: int, draws: int, rng: np.random.Generator) -> Floats:
    """How often each patient is in each draw: (draws, count)."""
    return rng.multinomial(count, np.full(count, 1 / count), size=draws).astype(np.float64)


def _cumulated(counts: NDArray[np.int64]) -> Floats:
    return np.asarray(np.cumsum(counts) / max(1, int(counts.sum())), np.float64)


def _reached(
    curves: Floats, weights: Floats, nominal: float, guarantee: Guarantee
) -> NDArray[np.int64]:
    """Bin of the half-width in each draw: (draws,); the last bin holds everything."""
    number = np.maximum(weights.sum(axis=1), 1)
    mean = weights @ curves / number[:, None]
    wanted = np.array([required_share(int(n), nominal, guarantee) for n in number])
    reached = mean >= wanted[:, None] - 1e-12
    return np.where(reached.any(axis=1), reached.argmax(axis=1), COUNT)


def _mean(shares: Floats, weights: Floats) -> Floats:
    number = weights.sum(axis=1)
    with np.errstate(invalid="ignore"):
        return np.asarray((shares * weights).sum(axis=1) / np.where(number > 0, number, np.nan))
