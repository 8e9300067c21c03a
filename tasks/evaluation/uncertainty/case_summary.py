"""Summary of the errors of one scored case, sufficient for calibration without its voxels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthct.data.tables import six_digits
from synthct.tasks.evaluation.pair import Mask
from synthct.tasks.evaluation.uncertainty.histogram import ErrorCounts
from synthct.tasks.evaluation.uncertainty.recalibration import MIN_SD_HU

KEPT = tuple(round(0.05 * step, 2) for step in range(1, 21))
"""Shares of voxels kept in the retention curve, most certain first."""


def retention_curve(
    error_hu: NDArray[Any], uncertainty: NDArray[Any]
) -> list[tuple[float, float, float]]:
    r"""Points (share kept, MAE of the kept voxels [HU], MAE of the ideal ranking [HU]).

    Voxels are dropped in order of falling uncertainty; the ideal ranking drops them in order of
    falling error. The last point is the MAE of all voxels; an uninformative uncertainty gives a
    flat line, a perfect one the third column.

    Parameters
    ----------
    error_hu, uncertainty
        Values (n,) of the same voxels.

    References
    ----------
    Malinin et al., Shifts, NeurIPS Datasets (2021).
    """
    error = np.abs(np.asarray(error_hu, np.float64))
    ranked = error[np.argsort(uncertainty, kind="stable")]
    best = np.sort(error)
    counts = [max(1, round(share * error.size)) for share in KEPT]
    kept, ideal = (np.cumsum(one) for one in (ranked, best))
    return [
        (share, float(kept[n - 1] / n), float(ideal[n - 1] / n))
        for share, n in zip(KEPT, counts, strict=True)
    ]


def retention_gain(curve: list[tuple[float, float, float]]) -> float | None:
    """Fraction of the possible gain: 1 for the ideal ranking, 0 for an uninformative one."""
    overall = curve[-1][1]
    reached = sum(overall - found for _, found, _ in curve)
    possible = sum(overall - ideal for _, _, ideal in curve)
    return reached / possible if possible > 0 else None


def error_facts(
    reference: NDArray[Any], prediction: NDArray[Any], mask: Mask, sd_hu: NDArray[Any] | None
) -> dict[str, Any]:
    """Counts of the errors by HU band; with ``sd_hu`` also of scaled errors, and retention.

    Parameters
    ----------
    reference, prediction
        CTs (Z, Y, X) [HU].
    sd_hu
        Predicted standard deviation (Z, Y, X) [HU]; None: no uncertainty is assessed.
    """
    found = prediction[mask].astype(np.float64)
    error = found - reference[mask]
    summary: dict[str, Any] = {"absolute": ErrorCounts.of(error, found).as_json()}
    if sd_hu is not None:
        spread = np.maximum(sd_hu[mask].astype(np.float64), MIN_SD_HU)
        curve = retention_curve(error, spread)
        gain = retention_gain(curve)
        summary["scaled"] = ErrorCounts.of(error / spread, found).as_json()
        summary["retention"] = [[six_digits(value) for value in point] for point in curve]
        summary["retention_gain"] = None if gain is None else six_digits(gain)
    return summary
