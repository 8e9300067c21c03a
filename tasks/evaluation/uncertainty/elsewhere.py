"""What intervals cover in a region that their calibration lacks, adapted to it and as they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthct.data.tables import six_digits
from synthct.tasks.evaluation.profiles import HU_BANDS
from synthct.tasks.evaluation.uncertainty.conformal import (
    ALL,
    MIN_PATIENTS,
    calibrate,
    covered_share,
)
from synthct.tasks.evaluation.uncertainty.histogram import COUNT, EDGES, ErrorCounts
from synthct.tasks.evaluation.uncertainty.shifted import shifted_threshold

MIN_OTHER_PATIENTS = 20
"""Patients outside a region below which eleven features of a scan say nothing of its errors."""

SAMPLES = 100
"""Errors that stand for one band of one case, at evenly spaced ranks: cases have equal weights."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Scored:
    """A case with known errors: patient, region, the scan's features, counts of its errors."""

    patient: str
    region: str
    features: Mapping[str, float]
    errors: ErrorCounts


def elsewhere(cases: Sequence[Scored], nominal: float) -> dict[str, dict[str, Any]]:
    """For each region: coverage by intervals from all other regions.

    ``split``: half-widths by HU band, as they are. ``adapted``: half-widths that depend on the
    band and, linearly, on the scan's features, drawn towards the region's scans, whose errors are
    not looked at (:func:`synthct.tasks.evaluation.uncertainty.shifted.shifted_threshold`). A
    region is left out if fewer than twenty patients lie outside it.
    """
    found: dict[str, dict[str, Any]] = {}
    for region in sorted({case.region for case in cases}):
        there = [case for case in cases if case.region == region]
        inside = {case.patient for case in there}
        others = [case for case in cases if case.patient not in inside]
        if len({case.patient for case in others}) < MIN_OTHER_PATIENTS:
            continue
        widths = calibrate([case.errors for case in others], nominal)
        split = [covered_share(case.errors, widths)[ALL] for case in there]
        adapted = [
            covered_share(case.errors, own)[ALL]
            for case, own in zip(there, adapted_widths(others, there, nominal), strict=True)
        ]
        found[region] = {
            "cases": len(there),
            "patients_elsewhere": len({case.patient for case in others}),
            "split": six_digits(float(np.mean(split))),
            "adapted": six_digits(float(np.mean(adapted))),
        }
    return found


def adapted_widths(
    calibration: Sequence[Scored], target: Sequence[Scored], nominal: float
) -> list[dict[str, float]]:
    """Half-width by HU band [HU] for each target case; of its errors only the bands are used.

    Each band has a threshold of its own, and one that fewer calibration cases have than
    ``MIN_PATIENTS`` the widest of the others.
    """
    names = sorted(calibration[0].features)
    found: list[dict[str, float]] = [{} for _ in target]
    for band in HU_BANDS:
        known = [case for case in calibration if band in case.errors.bands]
        wanted = [n for n, case in enumerate(target) if band in case.errors.bands]
        if len(known) < MIN_PATIENTS or not wanted:
            continue
        threshold = shifted_threshold(
            np.concatenate([_sampled(case.errors.bands[band]) for case in known]),
            np.repeat([_values(case, names) for case in known], SAMPLES, axis=0),
            np.array([_values(target[n], names) for n in wanted]),
            nominal,
        )
        for n, width in zip(
            wanted, threshold(np.array([_values(target[n], names) for n in wanted])), strict=True
        ):
            found[n][band] = float(width)
    return [{**widths, ALL: max(widths.values(), default=float("inf"))} for widths in found]


def _sampled(counts: NDArray[np.int64]) -> Floats:
    """Errors [HU] at evenly spaced ranks."""
    total = np.cumsum(counts)
    ranks = (np.arange(SAMPLES) + 0.5) / SAMPLES * total[-1]
    bins = np.searchsorted(total, ranks)
    return np.asarray(np.append(EDGES, EDGES[-1])[np.minimum(bins, COUNT)], np.float64)


def _values(case: Scored, names: Sequence[str]) -> list[float]:
    return [float(case.features[name]) for name in names]
