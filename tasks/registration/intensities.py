"""The intensities that the similarity sees: without tails, and without slow shading if asked."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from synthct.data.volume import Modality, Triple, Volume
from synthct.tasks.registration.agreement import TAILS_PERCENT
from synthct.tasks.registration.preset import Preset

_FEWEST = 1e-3
"""Share of a Gaussian's weight below which a local mean is not taken from the body."""


def prepared(scan: Volume, body: NDArray[Any], preset: Preset) -> Volume:
    """The scan as the engine compares it; the stored scan is never changed by this."""
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
    r"""The image less its local mean in the body, :math:`I - G*(I m) / G*m`.

    ``G`` is a Gaussian of standard deviation ``width_mm``: scatter's cupping and the shading of
    coils vary more slowly than anatomy. Outside the body the darkest flattened value stays.
    """
    sigma = [width_mm / step for step in spacing_mm]
    mask = inside.astype(np.float32)
    weight = gaussian_filter(mask, sigma, mode="constant")
    mean = gaussian_filter(image * mask, sigma, mode="constant") / np.maximum(weight, _FEWEST)
    flat = image - mean
    floor = flat[inside].min()
    return np.where(inside, flat, floor).astype(np.float32)
