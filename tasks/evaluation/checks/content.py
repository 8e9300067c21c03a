"""Checks of the prediction: clipped bone, copied noise, blur, another patient."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import binary_erosion, gaussian_filter

from synthct.tasks.evaluation.checks import CHECKS
from synthct.tasks.evaluation.evidence import Evidence, Finding
from synthct.tasks.evaluation.pair import Floats


@CHECKS.register("bone_range")
@dataclass(frozen=True)
class BoneRange:
    """Ratio of the densest 0.5 % of the masked voxels, prediction over reference (HU + 1000).

    Quantiles do not depend on the position of voxels, so misalignment does not affect them; bones
    clipped to a soft tissue window, or a saturating output activation, do.

    Parameters
    ----------
    least
        A lower ratio is suspect.
    top_percent
        Share of the voxels that is averaged [%].
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


@CHECKS.register("copied")
@dataclass(frozen=True)
class Copied:
    """Share of masked voxels with the reference's exact HU (both rounded), where it has texture.

    Noise cannot be predicted: a few percent of a good synthetic CT agree by chance. A network
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
        varied = (known > -990) & (known < 2900)  # air and clipped values may agree
        value = float(np.mean((known == found)[varied])) if varied.any() else None
        return Finding(
            "copied", value, self.most, "", value is not None and value > self.most,
            "share of voxels with the reference's exact HU; above the limit the CT was seen",
        )  # fmt: skip


@CHECKS.register("detail")
@dataclass(frozen=True)
class Detail:
    r"""Ratio of the standard deviations of fine detail, prediction over reference, in the mask.

    Detail is the difference of Gaussians :math:`G_{1} * I - G_{2} * I` (sigmas in voxels) inside
    the mask eroded by two voxels: edges and texture of two to eight voxels. It does not depend on
    the position of the detail, so a shift leaves it at 1; averaging over misaligned pairs lowers
    it.

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
            "fine detail as a share of the reference's; below the limit the image is blurred",
        )  # fmt: skip


def _detail(image: Floats) -> Floats:
    return np.asarray(gaussian_filter(image, 1.0) - gaussian_filter(image, 2.0))


@CHECKS.register("identity")
@dataclass(frozen=True)
class Identity:
    """Correlation of prediction and reference HU inside the mask, both clipped to [-1000, 1500].

    The mean error of another patient can be small if the tissues are about right; the correlation
    of two patients is low. Pearson's correlation is invariant to gain and offset.

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
