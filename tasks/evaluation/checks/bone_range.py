"""Clipped: dense bone that the prediction cannot reach."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from synthct.tasks.evaluation.checks import CHECKS
from synthct.tasks.evaluation.evidence import Evidence, Finding


@CHECKS.register("bone_range")
@dataclass(frozen=True)
class BoneRange:
    """Ratio of the densest 0.5 % of the masked voxels, prediction over reference (HU + 1000).

    Quantiles do not ask where a voxel is, so misalignment leaves them alone; bones clipped to a
    soft tissue window, or an output activation that saturates, do not.

    Parameters
    ----------
    least
        A lower ratio is suspect.
    top_percent
        Share of the voxels that are looked at [%].
    """

    least: float = 0.8
    top_percent: float = 0.5

    def __call__(self, evidence: Evidence) -> Finding:
        """Examine the evidence."""
        known, found = (
            _top_mean(image[evidence.inside], self.top_percent) + 1000
            for image in (evidence.pair.reference, evidence.pair.prediction)
        )
        value = found / known if known > 0 else None
        return Finding(
            "bone_range", value, self.least, "", value is not None and value < self.least,
            f"(HU + 1000) of the densest {self.top_percent:g} %, over the reference's",
        )  # fmt: skip


def _top_mean(hu: np.ndarray, percent: float) -> float:
    count = max(1, round(hu.size * percent / 100))
    return float(np.partition(hu, -count)[-count:].mean())
