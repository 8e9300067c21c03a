"""Scored outside the body: easy air that flatters every mean."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import binary_dilation

from synthct.tasks.evaluation.checks import CHECKS
from synthct.tasks.evaluation.evidence import Evidence, Finding


@CHECKS.register("mask_air")
@dataclass(frozen=True)
class MaskAir:
    """Share of the mask more than two voxels outside the reference's body.

    Parameters
    ----------
    most
        A higher share is suspect: air around the patient is scored as if it were anatomy.
    """

    most: float = 0.08

    def __call__(self, evidence: Evidence) -> Finding:
        """Examine the evidence."""
        around = evidence.inside & ~binary_dilation(evidence.body, iterations=2)
        value = int(np.count_nonzero(around)) / int(np.count_nonzero(evidence.inside))
        return Finding(
            "mask_air", value, self.most, "", value > self.most,
            "share of the scored voxels that lie around the body",
        )  # fmt: skip
