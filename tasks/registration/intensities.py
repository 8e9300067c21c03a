"""Intensities for the similarity: clipped and, optionally, corrected for slow shading."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from synthct.data.volume import Modality, Triple, Volume
from synthct.tasks.registration.agreement import TAILS_PERCENT
from synthct.tasks.registration.preset import Preset

_FEWEST = 1e-3
"""Lower bound of the Gaussian-smoothed mask in the denominator of the local mean [1]."""


def prepared(scan: Volume, body: NDArray[Any], preset: Preset) -> Volume:
    """The scan preprocessed for the similarity; the stored scan is not changed."""
    inside = np.asarray(body) > 0
    if scan.modality is Modality.CT:
        low, high = preset.ct_window_hu
    else:
        low, high = np.percentile(scan.array[inside], (TAILS_PERCENT, 100 - TAILS_PERCENT))
    clipped = np.clip(scan.array.astype(np.float32), low, high)
    if preset.flatten_mm > 0:
        clipped = flattened(clipped, inside, scan.grid.spacing_mm, preset.flatten_mm)
    return scan.with_array(clipped)


def flattened(
    image: NDArray[np.float32], inside: NDArray[np.bool_], spacing_mm: Triple, width_mm: float
) -> NDArray[np.float32]:
    r"""The image minus its local mean in the body, :math:`I - G*(I m) / G*m`.

    ``G`` is a Gaussian of standard deviation ``width_mm``: cupping from scatter and shading from
    MR coils vary more slowly than anatomy. Outside the body, the minimum inside it is used.
    """
    sigma = [width_mm / step for step in spacing_mm]
    mask = inside.astype(np.float32)
    weight = gaussian_filter(mask, sigma, mode="constant")
    mean = gaussian_filter(image * mask, sigma, mode="constant") / np.maximum(weight, _FEWEST)
    flat = image - mean
    floor = flat[inside].min()
    return np.where(inside, flat, floor).astype(np.float32)
