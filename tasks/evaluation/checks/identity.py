"""Another patient: the prediction's anatomy is not the reference's."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from synthct.tasks.evaluation.checks import CHECKS
from synthct.tasks.evaluation.evidence import Evidence, Finding


@CHECKS.register("identity")
@dataclass(frozen=True)
class Identity:
    """Correlation of prediction and reference HU inside the mask, both clipped to [-1000, 1500].

    A mean error can be small with any anatomy of about the right tissues; the correlation of two
    patients is not. (Pearson's, which no gain or offset of HU changes.)

    Parameters
    ----------
    least
        A lower correlation is suspect.
    """

    least: float = 0.7

    def __call__(self, evidence: Evidence) -> Finding:
        """Examine the evidence."""
        known, found = (
            np.clip(image[evidence.inside], -1000, 1500)
            for image in (evidence.pair.reference, evidence.pair.prediction)
        )
        known, found = known - known.mean(), found - found.mean()
        scale = float(np.sqrt((known @ known) * (found @ found)))
        value = float(known @ found) / scale if scale > 0 else 0.0
        return Finding(
            "identity", value, self.least, "", value < self.least,
            "correlation with the reference; below the limit it may be another patient or place",
        )  # fmt: skip
