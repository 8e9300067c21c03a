"""Baseline with one CT number for each of three classes of source intensity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from synthct.tasks.evaluation.baselines import BASELINES
from synthct.tasks.evaluation.naive import Fitted, SourceImages, Sums, TrainingImages, UnseenImages
from synthct.tasks.models.scalings import SCALINGS

BINS = 100


@BASELINES.register("tissue_classes")
@dataclass(frozen=True)
class TissueClasses:
    r"""Dark, middle and bright voxels, each with the mean HU of the training patients' class.

    The two thresholds maximise the variance between the classes of normalised source intensity,
    :math:`\sum_k w_k (\mu_k - \mu)^2` (Otsu), over the pooled histogram of the training patients.
    It is bulk density assignment without a contour: on T1, air with bone, muscle, and fat.

    References
    ----------
    Otsu, IEEE Trans. Syst. Man Cybern. 9 (1979) 62-66, doi:10.1109/TSMC.1979.4310076; bulk density:
    Johnstone et al., Int. J. Radiat. Oncol. Biol. Phys. 100 (2018) 199-217,
    doi:10.1016/j.ijrobp.2017.08.043.
    """

    sources: ClassVar[frozenset[str]] = frozenset({"mr"})

    def sums(self, images: TrainingImages) -> Sums:
        """Voxels and sum of HU per bin."""
        index = _index(images)
        hu = images.ct[images.mask].astype(np.float64)
        return {
            "count": np.bincount(index, minlength=BINS).astype(float),
            "hu": np.bincount(index, weights=hu, minlength=BINS),
        }

    def fit(self, sums: Sums) -> Fitted:
        """First bin of the middle and of the bright class, and the HU of all three."""
        count, hu = sums["count"], sums["hu"]
        middle, bright = _thresholds(count)
        parts = (slice(0, middle), slice(middle, bright), slice(bright, BINS))
        means = [float(hu[part].sum() / max(count[part].sum(), 1.0)) for part in parts]
        return {"first": [middle, bright], "hu": means}

    def predict(self, images: UnseenImages, fitted: Fitted) -> NDArray[Any]:
        """The class's HU at every voxel of the mask."""
        kind = np.searchsorted(np.asarray(fitted["first"]), _index(images), side="right")
        return images.filled(np.asarray(fitted["hu"])[kind])


def _index(images: SourceImages) -> NDArray[np.int64]:
    low, high = SCALINGS.get(images.scaling.kind).span
    position = (images.scaled().astype(np.float64) - low) / (high - low) * BINS
    return np.clip(position, 0, BINS - 1).astype(np.int64)


def _thresholds(count: NDArray[np.float64]) -> tuple[int, int]:
    """The two bins at which Otsu's classes begin."""
    weight = np.concatenate([[0.0], np.cumsum(count)])
    moment = np.concatenate([[0.0], np.cumsum(count * np.arange(count.size))])

    def between(first: Any, last: Any) -> NDArray[np.float64]:
        share = weight[last] - weight[first]
        return np.asarray((moment[last] - moment[first]) ** 2 / np.maximum(share, 1e-12))

    low, high = np.triu_indices(count.size, k=1)
    keep = low > 0
    low, high = low[keep], high[keep]
    spread = between(0, low) + between(low, high) + between(high, count.size)
    best = int(np.argmax(spread))
    return int(low[best]), int(high[best])
