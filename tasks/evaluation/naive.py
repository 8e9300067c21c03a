"""Interface of naive baselines: sums over single patients, a fit to their total, a prediction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from synthct.tasks.evaluation.profiles import OUTSIDE_HU
from synthct.tasks.models.description import SourceScaling
from synthct.tasks.models.normalise import scale_source

Sums = Mapping[str, NDArray[np.float64]]
"""Additive statistics by name: the sums of a fold are the sum over its training patients."""

Fitted = Mapping[str, Any]
"""Parameters fitted on a fold's training patients, as plain JSON."""


@dataclass(frozen=True, eq=False)
class SourceImages:
    """A source (Z, Y, X), its boolean mask and how the network would normalise it."""

    source: NDArray[Any]
    mask: NDArray[np.bool_]
    scaling: SourceScaling

    def scaled(self) -> NDArray[np.float32]:
        """The source inside the mask (voxels,), normalised as for the network."""
        return scale_source(self.source, self.mask, self.scaling)[self.mask]

    def filled(self, inside_hu: NDArray[Any] | float) -> NDArray[np.float64]:
        """An image with these values [HU] in the mask and ``OUTSIDE_HU`` around it."""
        hu = np.full(self.source.shape, OUTSIDE_HU)
        hu[self.mask] = inside_hu
        return hu


@dataclass(frozen=True, eq=False)
class TrainingImages(SourceImages):
    """A training patient; ``ct`` [HU] is the CT registered to the source."""

    ct: NDArray[Any]


@dataclass(frozen=True, eq=False)
class UnseenImages(SourceImages):
    """A patient to predict; the only CT available is the unregistered one."""

    unregistered_ct: NDArray[Any]


class Baseline(Protocol):
    """A simple method to compare with; a frozen dataclass in ``tasks/evaluation/baselines``."""

    sources: ClassVar[frozenset[str]]
    """Source modalities it applies to."""

    def sums(self, images: TrainingImages) -> Sums:
        """Statistics of one training patient; empty when there is nothing to fit."""

    def fit(self, sums: Sums) -> Fitted:
        """Parameters from the summed statistics of a fold's training patients."""

    def predict(self, images: UnseenImages, fitted: Fitted) -> NDArray[Any]:
        """The synthetic CT [HU] (Z, Y, X) of an unseen patient."""


class Unfitted:
    """Base of baselines that have nothing to fit."""

    def sums(self, images: TrainingImages) -> Sums:
        """Nothing to count."""
        return {}

    def fit(self, sums: Sums) -> Fitted:
        """Nothing to fit."""
        return {}
