"""CT numbers of an anatomy, and the planning CT with its noise."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from synthct.data.phantom.anatomy import Anatomy
from synthct.data.phantom.deformation import Deformation
from synthct.data.phantom.sampling import SAME_DAY, sample
from synthct.data.volume import Grid, Modality, Volume

LOW_HU, HIGH_HU = -1024, 3071
"""Range of a 12-bit CT."""


def hu_raster(anatomy: Anatomy, day: str) -> NDArray[np.float32]:
    """CT numbers [HU] on the anatomy's raster; metal is above what a CT can store."""
    labels = anatomy.labels[day]
    values = anatomy.values
    return np.asarray(values.hu[labels] + values.texture_hu[labels] * anatomy.texture)


def true_ct(anatomy: Anatomy, day: str, grid: Grid, deformation: Deformation) -> Volume:
    """The noise-free CT of a day on any grid: what a perfect synthetic CT would show."""
    (hu,) = sample(hu_raster(anatomy, day)[None], anatomy.grid, grid, deformation)
    return Volume(stored_hu(hu), grid, Modality.CT)


def planning_ct(
    anatomy: Anatomy, grid: Grid, rng: np.random.Generator, *, noise_hu: float
) -> Volume:
    """The CT of the CT day with noise that the reconstruction kernel has correlated in-plane."""
    (hu,) = sample(hu_raster(anatomy, "ct")[None], anatomy.grid, grid, SAME_DAY)
    noise = ndimage.gaussian_filter(
        rng.standard_normal(grid.shape).astype(np.float32), (0.0, 0.6, 0.6)
    )
    return Volume(stored_hu(hu + noise_hu / noise.std() * noise), grid, Modality.CT)


def stored_hu(hu: NDArray[np.float32]) -> NDArray[np.int16]:
    """Rounded and clipped as a scanner stores it."""
    return np.rint(np.clip(hu, LOW_HU, HIGH_HU)).astype(np.int16)
