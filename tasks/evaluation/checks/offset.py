"""Check for a shift of the whole prediction against its reference."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter, shift

from synthct.tasks.evaluation.checks import CHECKS
from synthct.tasks.evaluation.evidence import Evidence, Finding
from synthct.tasks.evaluation.pair import Floats, Mask, MaskedPair


@CHECKS.register("offset")
@dataclass(frozen=True)
class Offset:
    r"""Length of the translation that best explains the difference of the images [mm].

    Gauss-Newton on :math:`\sum_m (p(x + t) - g(x))^2` over smoothed images (sigma 2, then 1
    voxels), a few steps each. It detects a shift of the whole synthetic CT (a wrong origin, half a
    slice, a misregistration learned by the model), although no organ is missing.

    Parameters
    ----------
    most_mm
        A longer translation is suspect; half the smallest voxel is added to it.
    """

    most_mm: float = 1.5

    def __call__(self, evidence: Evidence) -> Finding:
        """Examine the evidence."""
        pair = evidence.pair
        found = translation_mm(pair)
        limit = self.most_mm + min(pair.spacing_mm) / 2
        value = None if found is None else float(np.linalg.norm(found))
        return Finding(
            "offset", value, limit, "mm", value is not None and value > limit,
            "translation that aligns the prediction with the reference",
        )  # fmt: skip


def translation_mm(pair: MaskedPair, *, steps: int = 6) -> Floats | None:
    """The translation (z, y, x) [mm] that aligns the prediction with the reference, or None."""
    low, high = -1024.0, 1500.0
    known, guess = (np.clip(i, low, high) for i in (pair.reference, pair.prediction))
    moved = np.zeros(3)
    for sigma in (2.0, 1.0):
        fixed, moving = gaussian_filter(known, sigma), gaussian_filter(guess, sigma)
        for _ in range(steps):
            here = shift(moving, moved, order=1, mode="nearest")
            step = _step(fixed, here, pair.mask)
            if step is None:
                return None
            moved = moved + step
            if np.abs(step).max() < 0.01:
                break
    return np.asarray(moved * np.asarray(pair.spacing_mm))


def _step(fixed: Floats, moving: Floats, mask: Mask) -> Floats | None:
    """Least squares of fixed - moving = -t . grad [voxels]; None if the images do not vary."""
    if min(fixed.shape) < 2:
        return None
    slopes = np.stack([axis[mask] for axis in list(np.gradient((fixed + moving) / 2))])
    normal = slopes @ slopes.T
    if np.linalg.cond(normal) > 1e12:
        return None
    answer = np.linalg.solve(normal, slopes @ (moving - fixed)[mask])
    return np.clip(answer, -2, 2)
