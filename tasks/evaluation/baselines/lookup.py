"""Baseline that maps the intensity of a single voxel to HU by a look-up table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from synthct.tasks.evaluation.baselines import BASELINES
from synthct.tasks.evaluation.naive import Fitted, SourceImages, Sums, TrainingImages, UnseenImages
from synthct.tasks.models.scalings import SCALINGS


@BASELINES.register("lookup")
@dataclass(frozen=True)
class Lookup:
    """Mean HU of the training patients per bin of the normalised source intensity.

    The table need not be monotone: on MR both air and cortical bone are dark. Bins without
    training voxels are interpolated from their neighbours.

    Parameters
    ----------
    bins
        Number of bins over the span of the scaling; its ends are used beyond it.
    """

    bins: int = 300

    sources: ClassVar[frozenset[str]] = frozenset({"mr", "cbct"})

    def sums(self, images: TrainingImages) -> Sums:
        """Voxels and sum of HU per bin."""
        index = self._index(images)
        hu = images.ct[images.mask].astype(np.float64)
        return {
            "count": np.bincount(index, minlength=self.bins).astype(float),
            "hu": np.bincount(index, weights=hu, minlength=self.bins),
        }

    def fit(self, sums: Sums) -> Fitted:
        """The table [HU], one entry a bin."""
        filled = np.flatnonzero(sums["count"])
        means = sums["hu"][filled] / sums["count"][filled]
        return {"hu": np.interp(np.arange(self.bins), filled, means).tolist()}

    def predict(self, images: UnseenImages, fitted: Fitted) -> NDArray[Any]:
        """The table's entry at every voxel of the mask."""
        return images.filled(np.asarray(fitted["hu"])[self._index(images)])

    def _index(self, images: SourceImages) -> NDArray[np.int64]:
        low, high = SCALINGS.get(images.scaling.kind).span
        position = (images.scaled().astype(np.float64) - low) / (high - low) * self.bins
        return np.clip(position, 0, self.bins - 1).astype(np.int64)
