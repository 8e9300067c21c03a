"""What choosing the surest networks of a pool does to the error, where there is a reference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthct.tasks.evaluation.pair import Mask
from synthct.tasks.evaluation.uncertainty.case_summary import retention_curve, retention_gain
from synthct.tasks.evaluation.uncertainty.recalibration import LEAST_SD_HU
from synthct.tasks.models.sliding import Prediction
from synthct.tasks.prediction.pool import select


def selection_effect(
    pool: Sequence[Prediction], reference: NDArray[Any], mask: Mask
) -> dict[int, dict[str, Any]]:
    """What keeping 1, 2, ... all members does: ``{kept: {mae_hu, retention, retention_gain}}``.

    The retention curve is that of the kept members' own spread; all members is the plain
    ensemble that the selection has to beat.
    """
    told: dict[int, dict[str, Any]] = {}
    for keep in range(1, len(pool) + 1):
        found = select(pool, mask, keep=keep)
        error = found.hu[mask].astype(np.float64) - reference[mask]
        curve = retention_curve(error, np.maximum(found.sd_hu[mask], LEAST_SD_HU))
        told[keep] = {
            "members": list(found.members),
            "mae_hu": float(np.abs(error).mean()),
            "retention": curve,
            "retention_gain": retention_gain(curve),
        }
    return told
