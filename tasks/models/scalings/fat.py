"""Scaling of T1-weighted MR by the intensity of fat, the brightest tissue that every body holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.signal import find_peaks

from synthct.tasks.models.scalings import SCALINGS, Linear, Transform

BINS = 256
SMOOTHING_BINS = 4.0
"""Standard deviation of the Gaussian that smooths the histogram [bins]."""
MIN_PROMINENCE = 0.02
"""Smallest prominence of a peak, as a fraction of the highest one."""
UPPER_PERCENTILE = 99.5


@SCALINGS.register("fat_peak")
@dataclass(frozen=True)
class FatPeak:
    r"""The brightest peak of the body's histogram, fat on T1, becomes 1 and zero signal -1.

    :math:`y = 2x / f - 1`, where *f* is the brightest mode of the smoothed histogram (256 bins up
    to the 99.5th percentile; a mode counts from 2 % of the highest one in prominence). Not clipped.
    Muscle and marrow keep their ratio to fat whatever share of the field of view fat fills, unlike
    with a mean or a percentile. For sequences on which fat is bright and air has no signal, of
    bodies that show some fat; a histogram without any mode gives *f* its 99.5th percentile.

    References
    ----------
    After the tissue peaks of Reinhold, Dewey, Carass & Prince (white matter there), SPIE Medical
    Imaging 2019, arXiv:1812.04652; fat as reference of T1 of limbs: Vallières, Freeman, Skamene &
    El Naqa, Phys. Med. Biol. 60 (2015) 5471-5496, doi:10.1088/0031-9155/60/14/5471.
    """

    span: ClassVar[tuple[float, float]] = (-1.2, 2.5)

    def fit(
        self, inside: NDArray[np.float64], scan: NDArray[Any], mask: NDArray[Any]
    ) -> Transform | None:
        """Fit to the intensities inside a body (voxels,)."""
        upper = float(np.percentile(inside, UPPER_PERCENTILE))
        if upper <= 0 or inside.min() == inside.max():
            return None
        fat = _brightest_mode(inside, upper)
        half = (upper if fat is None else fat) / 2
        return Linear(half, half)


def _brightest_mode(inside: NDArray[np.float64], upper: float) -> float | None:
    """Intensity of the brightest peak of the histogram between 0 and ``upper``."""
    # A fifth beyond the percentile, so that a peak at the end has a falling side.
    counts, edges = np.histogram(inside, bins=BINS, range=(0.0, 1.2 * upper))
    smooth = gaussian_filter1d(counts.astype(float), SMOOTHING_BINS, mode="constant")
    peaks, _ = find_peaks(smooth, prominence=MIN_PROMINENCE * smooth.max())
    if not peaks.size:
        return None
    return float((edges[peaks[-1]] + edges[peaks[-1] + 1]) / 2)
