"""Multi-scale structural similarity as the SynthRAD2025 challenge computes it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthct.tasks.evaluation.metrics import METRICS
from synthct.tasks.evaluation.metrics.windows import mask_box, similarity
from synthct.tasks.evaluation.pair import Floats, Mask, MaskedPair, Measured

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Exponent of each level, finest first (Wang, Simoncelli & Bovik, Asilomar 2003)."""

MIN_SIZE = 97
"""Shorter axes are padded to this: five halvings leave a window and its border."""


@METRICS.register("ms_ssim")
@dataclass(frozen=True)
class MultiScaleSimilarity:
    r"""MS-SSIM :math:`\prod_l \operatorname{clip}(\operatorname{mean}_m (L C S)^{w_l}, 0, 1)`.

    As published for SynthRAD2025: the exponent is inside the mean and the luminance L counts at
    every scale (Wang's original takes it at the coarsest only). Images are clipped to the
    profile, shifted to start at 0, padded to 97 voxels with edge values; between levels they are
    averaged over 2 x 2 x 2 voxels and every second one is kept. A mask that vanishes at a
    coarse level ends the product there, with a warning.

    Parameters
    ----------
    device
        ``cuda`` or ``cpu``: computed with torch there, equal to 1e-9; empty: with numpy.
    """

    device: str = ""

    def __call__(self, pair: MaskedPair) -> Measured:
        """Measure the pair."""
        low, high = pair.profile.low_hu, pair.profile.high_hu
        x = pad_to_least(np.clip(pair.reference, low, high) - low)
        y = pad_to_least(np.clip(pair.prediction, low, high) - low)
        mask = pad_to_least(pair.mask)
        score, levels = self._product(x, y, mask, pair.profile.width_hu)
        if levels == len(WEIGHTS):
            return Measured({"ms_ssim": score})
        warning = f"ms_ssim: the mask vanishes at level {levels + 1} of {len(WEIGHTS)}"
        return Measured({"ms_ssim": score if levels else None}, (warning,))

    def _product(self, x: Floats, y: Floats, mask: Mask, width: float) -> tuple[float, int]:
        if not self.device:
            return _over_levels((x, y, mask), width, _level_mean, halve)
        from synthct.tasks.evaluation.metrics import on_device

        images = on_device.placed((x, y, mask), on_device.device_called(self.device))
        return _over_levels(images, width, on_device.level_mean, on_device.halve)


def _over_levels(
    images: Sequence[Any],
    width: float,
    level_mean: Callable[[Any, Any, Any, float, float], float | None],
    halved: Callable[[Any], Any],
) -> tuple[float, int]:
    """The score and its number of levels; the functions compute with numpy or torch."""
    x, y, mask = images
    score = 1.0
    for level, weight in enumerate(WEIGHTS):
        if level:
            x, y, mask = halved(x), halved(y), mask[::2, ::2, ::2]
        mean = level_mean(x, y, mask, width, weight)
        if mean is None:
            return score, level
        score *= min(max(mean, 0.0), 1.0)
    return score, len(WEIGHTS)


def _level_mean(x: Floats, y: Floats, mask: Mask, width: float, weight: float) -> float | None:
    box = mask_box(mask)
    if box is None:
        return None
    total, count = 0.0, 0
    for plane in similarity(x, y, mask, box, width):
        # L and C cannot be negative, so clipping each factor at 0 is clipping the product.
        np.maximum(plane, 0.0, out=plane)
        total += float(np.power(plane, weight, out=plane).sum())
        count += plane.size
    return total / count


def pad_to_least(array: NDArray) -> NDArray:
    """A copy with every axis at least 97 long: floor before, ceil after, edge values."""
    missing = [max(0, MIN_SIZE - size) for size in array.shape]
    return np.pad(array, [(n // 2, n - n // 2) for n in missing], mode="edge")


def halve(image: Floats) -> Floats:
    """Mean of 2 x 2 x 2 voxels at every second one, zeros before the first.

    Equal to convolving with ones / 8 (``same``) and keeping ``[::2, ::2, ::2]``: voxel k of the
    result is the mean of 2 k - 1 and 2 k, and the first one is averaged with zero.
    """
    for axis in range(3):
        turned = np.moveaxis(image, axis, 0)
        kept = turned[::2].copy()
        kept[1:] += turned[1::2][: len(kept) - 1]
        image = np.moveaxis(kept, 0, axis)
    return image * 0.125
