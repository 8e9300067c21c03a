"""Intensities to network units and back, for training, validation and prediction alike."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthct.data.errors import DataError, mask_empty
from synthct.tasks.models.description import SourceScaling, TargetScaling
from synthct.tasks.models.scalings import SCALINGS, Transform


def fit_source(array: NDArray[Any], mask: NDArray[Any], scaling: SourceScaling) -> Transform:
    """Fit the scaling of a scan to the voxels inside its body mask.

    Fitted once on a whole scan, then applied to any part of it, so that sliding windows and
    training patches have the same values.

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
    fitted = SCALINGS.build(scaling.kind, {}, where="source_scaling").fit(inside, array, mask)
    if fitted is None:
        raise DataError(
            f"the scan is {np.median(inside):g} almost everywhere inside the body",
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
