"""Only the easy slices: a mask that leaves part of the body out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from synthct.tasks.evaluation.checks import CHECKS
from synthct.tasks.evaluation.evidence import Evidence, Finding


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
