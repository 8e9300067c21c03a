"""Copied: a prediction that repeats the reference's very noise has seen it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from synthct.tasks.evaluation.checks import CHECKS
from synthct.tasks.evaluation.evidence import Evidence, Finding


@CHECKS.register("copied")
@dataclass(frozen=True)
class Copied:
    """Share of masked voxels with the reference's exact HU (both rounded), where it has texture.

    Noise cannot be predicted: of a good synthetic CT a few percent agree by chance. A network
    that was trained on the patient, or the CT itself under another name, agrees far more often.

    Parameters
    ----------
    most
        A higher share is suspect.
    """

    most: float = 0.2

    def __call__(self, evidence: Evidence) -> Finding:
        """Examine the evidence."""
        known, found = (
            np.rint(image[evidence.inside])
            for image in (evidence.pair.reference, evidence.pair.prediction)
        )
        varied = (known > -990) & (known < 2900)  # air and clipped values agree honestly
        value = float(np.mean((known == found)[varied])) if varied.any() else None
        return Finding(
            "copied", value, self.most, "", value is not None and value > self.most,
            "share of voxels with the reference's exact HU: more than chance means it was seen",
        )  # fmt: skip
