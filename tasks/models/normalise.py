"""Intensities to network units and back, for training, validation and prediction alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthct.data.errors import DataError, mask_empty
from synthct.tasks.models.calibration import AIR_HU, calibrate
from synthct.tasks.models.description import SourceScaling, TargetScaling

UPPER_PERCENTILE = 99.5
"""Percentile used as the maximum; the last half per cent is metal, vessels and inflow."""


WINDOW = TargetScaling()
"""The window of ``two_point`` [HU]: that of the default target, whatever the target's own is."""


@dataclass(frozen=True)
class SourceTransform:
    """Fitted scaling ``y = (x - shift) / width``, clipped to [-1, 1] where ``clipped``.

    Fitted once on a whole scan, then applied to any part of it, so that sliding windows and
    training patches have the same values.
    """

    shift: float
    width: float
    clipped: bool

    def __call__(self, array: NDArray[Any]) -> NDArray[np.float32]:
        """Scale intensities (any shape); a new float32 array."""
        scaled = array.astype(np.float32)
        scaled -= np.float32(self.shift)
        scaled *= np.float32(1.0 / self.width)
        return np.clip(scaled, -1.0, 1.0, out=scaled) if self.clipped else scaled


def fit_source(array: NDArray[Any], mask: NDArray[Any], scaling: SourceScaling) -> SourceTransform:
    """Fit the scaling of a scan to the voxels inside its body mask.

    ``zscore_in_mask``: shift = mean, width = standard deviation. ``min_p99.5``: minimum and
    99.5th percentile become -1 and 1. ``two_point``: the window [-1024, 3071] HU of the calibrated
    scan (:mod:`synthct.tasks.models.calibration`) becomes [-1, 1].

    Parameters
    ----------
    array, mask
        Intensities and body mask (> 0 is inside), both (Z, Y, X).

    Raises
    ------
    DataError
        If the mask is empty, or intensities inside it are not finite or all equal, or a
        calibration finds no air or no soft tissue.
    """
    inside = array[np.asarray(mask) > 0]
    if inside.size == 0:
        raise mask_empty("the body mask", "the scan")
    inside = inside.astype(np.float64)
    if not np.isfinite(inside).all():
        raise DataError(
            f"{np.count_nonzero(~np.isfinite(inside))} voxels inside the body are NaN or infinite",
            rule="intensities inside the body are finite",
            remedy="repair or export the scan again",
            code="intensity-not-finite",
        )
    if scaling.kind == "zscore_in_mask":
        fitted = SourceTransform(float(inside.mean()), float(inside.std()), clipped=False)
    elif scaling.kind == "two_point":
        found = calibrate(array, mask)
        middle, half = (WINDOW.low_hu + WINDOW.high_hu) / 2, (WINDOW.high_hu - WINDOW.low_hu) / 2
        shift = found.air + (middle - AIR_HU) / found.gain
        fitted = SourceTransform(shift, half / found.gain, clipped=True)
    else:
        low, high = float(inside.min()), float(np.percentile(inside, UPPER_PERCENTILE))
        fitted = SourceTransform((low + high) / 2, (high - low) / 2, clipped=True)
    if fitted.width <= 0:
        raise DataError(
            f"the scan is {fitted.shift:g} everywhere inside the body",
            rule="intensities inside the body differ",
            remedy="check that the scan is an image of a patient",
            code="intensity-constant",
        )
    return fitted


def scale_source(
    array: NDArray[Any], mask: NDArray[Any], scaling: SourceScaling
) -> NDArray[np.float32]:
    """The scan (Z, Y, X) in network units, its statistics taken inside the body mask."""
    return fit_source(array, mask, scaling)(array)


def scale_target(hu: NDArray[Any], scaling: TargetScaling) -> NDArray[np.float32]:
    """CT [HU], clipped to [low, high], as [-1, 1]: ``2 (hu - low) / (high - low) - 1``."""
    low, high = scaling.low_hu, scaling.high_hu
    scaled = np.clip(hu.astype(np.float32), low, high)
    scaled -= np.float32(low)
    scaled *= np.float32(2.0 / (high - low))
    scaled -= np.float32(1.0)
    return scaled


def unscale_target(x: NDArray[Any], scaling: TargetScaling) -> NDArray[np.float32]:
    """Network output as HU: ``(x + 1) / 2 (high - low) + low``, float32, not clipped."""
    half = np.float32((scaling.high_hu - scaling.low_hu) / 2)
    return (x.astype(np.float32) + np.float32(1.0)) * half + np.float32(scaling.low_hu)
