"""Intensities to network units and back, for training, validation and prediction alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthct.data.errors import DataError, UsageError, mask_empty
from synthct.tasks.models.description import SourceScaling, TargetScaling
from synthct.tasks.models.scalings import SCALINGS, Transform
from synthct.tasks.transport.harmonisers import HARMONISERS, fit_curve
from synthct.tasks.transport.laws import Curve, Law, law_of


@dataclass(frozen=True)
class Harmonised:
    """A scaling followed by the curve to the reference law.

    Parameters
    ----------
    own
        Law of the body in units of the scaling, before the curve.
    """

    scaled: Transform
    curve: Curve
    own: Law

    def __call__(self, array: NDArray[Any]) -> NDArray[np.float32]:
        """Scale and map intensities (any shape); a new float32 array."""
        return self.curve(self.scaled(array))


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
        calibration finds no air or no soft tissue, or a law cannot be harmonised.
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
    if scaling.harmonise is None:
        return fitted
    return _harmonised(fitted, inside, scaling)


def _harmonised(fitted: Transform, inside: NDArray[Any], scaling: SourceScaling) -> Harmonised:
    wanted = scaling.harmonise
    if wanted is None or wanted.law is None:
        raise UsageError(
            "the harmonisation names no law",
            rule="a scan is harmonised to a reference law",
            where="source_scaling.harmonise.law",
            remedy="train with this scaling, which fills the law in, or give one",
            code="law-missing",
        )
    own = law_of(fitted(inside))
    return Harmonised(fitted, fit_curve(wanted.name, wanted.options, own, wanted.law), own)


def scaling_modules(scaling: SourceScaling) -> tuple[str, ...]:
    """Dotted modules of the plug-ins that a scaling names; they are part of the units' keys."""
    own = SCALINGS.module_of(scaling.kind)
    if scaling.harmonise is None:
        return (own,)
    return own, HARMONISERS.module_of(scaling.harmonise.name)


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
