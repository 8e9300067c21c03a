"""Checks of the mask: air inside it, body outside it."""

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
            "share of the scored voxels that lie outside the body",
        )  # fmt: skip


@CHECKS.register("mask_cover")
@dataclass(frozen=True)
class MaskCover:
    """Share of the reference's body that lies inside the mask.

    Parameters
    ----------
    least
        A lower share is suspect: whole slices, or the bones, may have been left out.
    """

    least: float = 0.85

    def __call__(self, evidence: Evidence) -> Finding:
        """Examine the evidence."""
        body = int(np.count_nonzero(evidence.body))
        both = int(np.count_nonzero(evidence.body & evidence.inside))
        value = both / body if body else None
        return Finding(
            "mask_cover", value, self.least, "", value is not None and value < self.least,
            "share of the reference's body that was scored",
        )  # fmt: skip
