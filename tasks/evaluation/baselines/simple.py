"""Baselines with at most two parameters: constant, line, blind calibration, unregistered CT."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from synthct.tasks.evaluation.baselines import BASELINES
from synthct.tasks.evaluation.naive import Fitted, Sums, TrainingImages, Unfitted, UnseenImages
from synthct.tasks.models.calibration import calibrate

LOW_HU, HIGH_HU = -1024, 3071


@BASELINES.register("constant")
@dataclass(frozen=True)
class Constant:
    """The training patients' median HU at every voxel: no constant has a lower MAE there."""

    sources: ClassVar[frozenset[str]] = frozenset({"mr", "cbct"})

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


@BASELINES.register("linear")
@dataclass(frozen=True)
class Linear:
    r"""Least squares :math:`\mathrm{HU} \approx a\,x + b` over the training patients' voxels.

    ``x`` is the reconstructed CBCT number, not the normalised one, as in a clinic's calibration of
    its scanner. Both sides are clipped to [-1024, 3071].
    """

    sources: ClassVar[frozenset[str]] = frozenset({"cbct"})

    def sums(self, images: TrainingImages) -> Sums:
        """Moments of (x, HU): n, sum x, sum HU, sum x^2, sum x HU."""
        x = _clipped(images.source[images.mask])
        hu = _clipped(images.ct[images.mask])
        return {"moments": np.array([x.size, x.sum(), hu.sum(), (x * x).sum(), (x * hu).sum()])}

    def fit(self, sums: Sums) -> Fitted:
        """Slope and intercept [HU]."""
        n, x, hu, xx, xhu = sums["moments"]
        spread = xx - x * x / n
        slope = float((xhu - x * hu / n) / spread) if spread > 0 else 0.0
        return {"slope": slope, "intercept_hu": float(hu / n - slope * x / n)}

    def predict(self, images: UnseenImages, fitted: Fitted) -> NDArray[Any]:
        """The line at every voxel of the mask, clipped."""
        x = _clipped(images.source[images.mask])
        return images.filled(_clipped(fitted["slope"] * x + fitted["intercept_hu"]))


def _clipped(values: NDArray[Any]) -> NDArray[np.float64]:
    return np.clip(values.astype(np.float64), LOW_HU, HIGH_HU)


@BASELINES.register("two_point")
@dataclass(frozen=True)
class TwoPoint(Unfitted):
    """The CBCT calibrated blindly: its air to -1000 HU, the mode of its soft tissue to +40 HU.

    Needs no CT and no training patient (:mod:`synthct.tasks.models.calibration`).
    """

    sources: ClassVar[frozenset[str]] = frozenset({"cbct"})

    def predict(self, images: UnseenImages, fitted: Fitted) -> NDArray[Any]:
        """The calibrated scan inside the mask, clipped."""
        found = calibrate(images.source, images.mask)
        return images.filled(_clipped(found.hu(images.source[images.mask])))


@BASELINES.register("raw")
@dataclass(frozen=True)
class Raw(Unfitted):
    """The CBCT's own numbers taken as HU, without any correction."""

    sources: ClassVar[frozenset[str]] = frozenset({"cbct"})

    def predict(self, images: UnseenImages, fitted: Fitted) -> NDArray[Any]:
        """The CBCT inside the mask."""
        return images.filled(images.source[images.mask])


@BASELINES.register("unregistered")
@dataclass(frozen=True)
class Unregistered(Unfitted):
    """The planning CT resampled without any registration, taken as if it were the synthetic CT."""

    sources: ClassVar[frozenset[str]] = frozenset({"mr", "cbct"})

    def predict(self, images: UnseenImages, fitted: Fitted) -> NDArray[Any]:
        """The CT inside the mask."""
        return images.filled(images.unregistered_ct[images.mask])
