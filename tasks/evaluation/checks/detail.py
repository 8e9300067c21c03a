"""Blurred: fine detail that the reference has and the prediction lacks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import binary_erosion, gaussian_filter

from synthct.tasks.evaluation.checks import CHECKS
from synthct.tasks.evaluation.evidence import Evidence, Finding
from synthct.tasks.evaluation.pair import Floats


@CHECKS.register("detail")
@dataclass(frozen=True)
class Detail:
    r"""Ratio of the standard deviations of fine detail, prediction over reference, in the mask.

    Detail is the difference of Gaussians :math:`G_{1} * I - G_{2} * I` (sigmas in voxels) inside
    the mask eroded by two voxels: edges and texture of two to eight voxels. It does not ask where
    the detail is, so a shift leaves it at 1; averaging over wrong alignments lowers it.

    Parameters
    ----------
    least
        Below this ratio the prediction is called blurred.
    """

    least: float = 0.7

    def __call__(self, evidence: Evidence) -> Finding:
        """Examine the evidence."""
        core = binary_erosion(evidence.inside, iterations=2)
        core = core if core.any() else evidence.inside
        known, found = (
            float(_detail(image)[core].std())
            for image in (evidence.pair.reference, evidence.pair.prediction)
        )
        value = found / known if known > 0 else None
        return Finding(
            "detail", value, self.least, "", value is not None and value < self.least,
            "share of the reference's fine detail that is left; below the limit it is blurred",
        )  # fmt: skip


def _detail(image: Floats) -> Floats:
    return np.asarray(gaussian_filter(image, 1.0) - gaussian_filter(image, 2.0))
