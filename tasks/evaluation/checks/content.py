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
