"""Two supplied dose distributions: dose-volume figures and conformity."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthct.tasks.evaluation.pair import Floats, Mask


def dose_at_volume_gy(dose_gy: NDArray[Any], percent: float) -> float:
    """D_p: the least dose of the hottest p % of the voxels [Gy] (D98 near-minimum, D2 near-max)."""
    return float(np.percentile(dose_gy, 100 - percent))


def dvh_figures(dose_gy: Floats, structures: Mapping[str, Mask]) -> dict[str, dict[str, float]]:
    """``{structure: {d98_gy, d2_gy, mean_gy}}`` of every structure that has voxels."""
    return {
        name: {
            "d98_gy": dose_at_volume_gy(dose_gy[inside], 98),
            "d2_gy": dose_at_volume_gy(dose_gy[inside], 2),
            "mean_gy": float(dose_gy[inside].mean()),
        }
        for name, inside in structures.items()
        if inside.any()
    }


def conformity(dose_gy: Floats, target: Mask, prescription_gy: float) -> float | None:
    r"""Paddick's conformity :math:`TV_{PI}^2 / (TV \cdot PI)`; none where nothing is covered.

    References
    ----------
    Paddick, J Neurosurg 93 Suppl 3 (2000) 219-222.
    """
    covered = dose_gy >= prescription_gy
    both = int(np.count_nonzero(covered & target))
    if not both:
        return None
    return both**2 / (int(np.count_nonzero(target)) * int(np.count_nonzero(covered)))
