"""The same tissue everywhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from synthct.tasks.evaluation.baselines import BASELINES
from synthct.tasks.evaluation.naive import Fitted, Sums, TrainingImages, UnseenImages

LOW_HU, HIGH_HU = -1024, 3071


@BASELINES.register("constant")
@dataclass(frozen=True)
class Constant:
    """The training patients' median HU at every voxel: no constant has a lower MAE there."""

    tasks: ClassVar[frozenset[str]] = frozenset({"mr", "cbct"})

    def sums(self, images: TrainingImages) -> Sums:
        """Histogram of the CT in the mask, one bin a HU."""
        hu = np.clip(np.rint(images.ct[images.mask]), LOW_HU, HIGH_HU).astype(np.int64)
        return {"count": np.bincount(hu - LOW_HU, minlength=HIGH_HU - LOW_HU + 1).astype(float)}

    def fit(self, sums: Sums) -> Fitted:
        """The lower median [HU]."""
        cumulative = np.cumsum(sums["count"])
        return {"hu": LOW_HU + int(np.searchsorted(cumulative, cumulative[-1] / 2))}

    def predict(self, images: UnseenImages, fitted: Fitted) -> NDArray[Any]:
        """The constant inside the mask."""
        return images.filled(float(fitted["hu"]))
