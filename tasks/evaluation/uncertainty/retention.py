"""Does the uncertainty know where the errors are? The error of what is kept, least certain last."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

KEPT = tuple(round(0.05 * step, 2) for step in range(1, 21))
"""Shares of voxels that are kept, the most certain first."""


def retention_curve(
    error_hu: NDArray[Any], uncertainty: NDArray[Any]
) -> list[tuple[float, float, float]]:
    r"""(share kept, MAE of the kept [HU], MAE if errors themselves had ranked them [HU]).

    Voxels are dropped from the most uncertain on. The last point is the MAE of all; a useless
    uncertainty gives a level line, a perfect one the third column.

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
    """Part of the possible gain that is reached: 1 for the ideal ranking, 0 for a useless one."""
    whole = curve[-1][1]
    reached = sum(whole - found for _, found, _ in curve)
    possible = sum(whole - ideal for _, _, ideal in curve)
    return reached / possible if possible > 0 else None
