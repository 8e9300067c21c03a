"""Deliberate misalignment of pairs by a known amount, to study the effect of registration."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates

from synthct.data.store.volumes import read_volume, write_volume
from synthct.tasks.pipeline.artefacts import CT
from synthct.tasks.pipeline.randomness import generator

SMOOTHNESS_MM = 20.0
"""Standard deviation of the Gaussian that smooths the displacement [mm]: whole organs move
together, as in a failed registration."""


def misalign(*, out: Path, ct: Path, mask: Path, mean_mm: float, seed: int, case: str) -> None:
    """Unit: write ``ct.zarr``, moved by a smooth random displacement of mean length ``mean_mm``.

    The displacement is white noise smoothed by a Gaussian of ``SMOOTHNESS_MM``, scaled so that
    its mean length over the voxels of ``mask`` is ``mean_mm``; the CT is interpolated linearly at
    ``x + u(x)``, with its border value beyond.
    """
    volume = read_volume(ct)
    inside = read_volume(mask).array > 0
    rng = generator(seed, "misalign", case)
    u = smooth_displacement(inside, volume.grid.spacing_mm, mean_mm, rng)
    moved = warped(volume.array, u, volume.grid.spacing_mm)
    rounded = np.rint(moved).astype(volume.array.dtype)
    write_volume(out / CT, volume.with_array(rounded, volume.modality))


def smooth_displacement(
    inside: NDArray[np.bool_],
    spacing_mm: Sequence[float],
    mean_mm: float,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """A displacement (3, Z, Y, X) [mm] along the array's axes; mean length inside ``mean_mm``."""
    sigma = [SMOOTHNESS_MM / step for step in spacing_mm]
    # Drawn on a wider grid and cropped, so that the variance is the same at the border.
    margin = [int(np.ceil(2 * s)) for s in sigma]
    wide = [n + 2 * m for n, m in zip(inside.shape, margin, strict=True)]
    cut = tuple(slice(m, m + n) for n, m in zip(inside.shape, margin, strict=True))
    u = np.stack([gaussian_filter(rng.standard_normal(wide), sigma)[cut] for _ in range(3)])
    length = np.sqrt((u**2).sum(axis=0))[inside].mean()
    return np.asarray(u * (mean_mm / length))


def warped(
    image: NDArray[np.generic], u: NDArray[np.float64], spacing_mm: Sequence[float]
) -> NDArray[np.float64]:
    """``image`` (Z, Y, X) interpolated linearly at ``x + u(x)``; the border value beyond."""
    here = np.indices(image.shape, dtype=float)
    step = np.asarray(spacing_mm, float).reshape(3, 1, 1, 1)
    found = map_coordinates(image.astype(float), here + u / step, order=1, mode="nearest")
    return np.asarray(found)
