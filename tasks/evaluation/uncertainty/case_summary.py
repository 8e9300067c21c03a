"""What calibration needs of one scored case, without its voxels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthct.tasks.evaluation.pair import Mask
from synthct.tasks.evaluation.uncertainty.histogram import ErrorCounts
from synthct.tasks.evaluation.uncertainty.recalibration import LEAST_SD_HU
from synthct.tasks.evaluation.uncertainty.retention import retention_curve, retention_gain


def error_facts(
    reference: NDArray[Any], prediction: NDArray[Any], mask: Mask, sd_hu: NDArray[Any] | None
) -> dict[str, Any]:
    """Counts of the errors by HU band; with a spread also of scaled errors, and retention.

    Parameters
    ----------
    reference, prediction, sd_hu
        (Z, Y, X) [HU]; without ``sd_hu`` there is no uncertainty to judge.
    """
    found = prediction[mask].astype(np.float64)
    error = found - reference[mask]
    told: dict[str, Any] = {"absolute": ErrorCounts.of(error, found).as_json()}
    if sd_hu is not None:
        spread = np.maximum(sd_hu[mask].astype(np.float64), LEAST_SD_HU)
        curve = retention_curve(error, spread)
        gain = retention_gain(curve)
        told["scaled"] = ErrorCounts.of(error / spread, found).as_json()
        told["retention"] = [[float(f"{value:.6g}") for value in point] for point in curve]
        told["retention_gain"] = None if gain is None else float(f"{gain:.6g}")
    return told
