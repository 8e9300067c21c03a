"""One pair on its working grid: the input of every registration method."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from synthct.data.itk import resample, to_itk
from synthct.data.volume import Grid, Modality, Triple, Volume
from synthct.tasks.fields.geometry import carried_back, grown
from synthct.tasks.registration.agreement import TAILS_PERCENT
from synthct.tasks.registration.preset import Preset
from synthct.tasks.registration.scan_pair import ScanPair

BONE_HU = 200.0
"""CT number above which a voxel is bone, for the rigidity penalty and bone strain [HU]."""

_MIN_MASK_WEIGHT = 1e-3
"""Lower bound of the Gaussian-smoothed mask in the denominator of the local mean [1]."""


@dataclass(frozen=True)
class Images:
    """Inputs of elastix as ITK images: float32 images and uint8 masks."""

    fixed: sitk.Image
    moving: sitk.Image
    fixed_mask: sitk.Image
    moving_mask: sitk.Image


@dataclass(frozen=True, eq=False)
class Compared:
    """Inputs of the similarity: clipped scans (fixed one on the working grid) and dilated masks."""

    fixed: Volume
    moving: Volume
    fixed_mask: Volume
    moving_mask: Volume


@dataclass(frozen=True, eq=False)
class Job:
    """A pair to register on ``grid`` with ``preset``; results are reproducible for one seed."""

    pair: ScanPair
    compared: Compared
    grid: Grid
    preset: Preset
    seed: int
    threads: int

    @classmethod
    def of(cls, pair: ScanPair, grid: Grid, preset: Preset, *, seed: int, threads: int) -> Job:
        """The job for a pair, with preprocessed intensities and masks."""
        return cls(pair, _compared(pair, grid, preset), grid, preset, seed, threads)

    def with_window(self, window_hu: tuple[float, float]) -> Job:
        """The same job with another CT window [HU]; everything else is shared."""
        preset = replace(self.preset, ct_window_hu=window_hu)
        fixed, moving = self.compared.fixed, self.compared.moving
        if fixed.modality is Modality.CT:
            fixed = _fixed(self.pair, self.grid, preset)
        if moving.modality is Modality.CT:
            moving = _moving(self.pair, preset)
        compared = replace(self.compared, fixed=fixed, moving=moving)
        return replace(self, preset=preset, compared=compared)

    def placed(self, transform: sitk.Transform) -> Images:
        """The images, with the moving one mapped back by ``transform`` (fixed -> moving)."""
        seen = self.compared
        return Images(
            fixed=to_itk(seen.fixed),
            moving=to_itk(carried_back(seen.moving, transform)),
            fixed_mask=to_itk(seen.fixed_mask),
            moving_mask=to_itk(carried_back(seen.moving_mask, transform)),
        )

    def bone(self) -> Volume | None:
        """Bone mask of the moving CT on its grid; ``None`` if the moving scan is not a CT."""
        if self.pair.moving.modality is not Modality.CT:
            return None
        bone = (self.pair.moving.array > BONE_HU) & (self.pair.moving_body.array > 0)
        return self.pair.moving.with_array(bone.astype(np.float32), Modality.MASK)


def _compared(pair: ScanPair, grid: Grid, preset: Preset) -> Compared:
    body = resample(pair.fixed_body, grid, outside=0, nearest=True)
    return Compared(
        fixed=_fixed(pair, grid, preset),
        moving=_moving(pair, preset),
        fixed_mask=_grown(body, preset),
        moving_mask=_grown(pair.moving_body, preset),
    )


def _fixed(pair: ScanPair, grid: Grid, preset: Preset) -> Volume:
    fixed = resample(pair.fixed, grid, outside=float(pair.fixed.array.min()))
    body = resample(pair.fixed_body, grid, outside=0, nearest=True)
    return prepared(fixed, body.array, preset)


def _moving(pair: ScanPair, preset: Preset) -> Volume:
    return prepared(pair.moving, pair.moving_body.array, preset)


def _grown(body: Volume, preset: Preset) -> Volume:
    return body.with_array(grown(body.array, body.grid.spacing_mm, preset.mask_margin_mm))


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
    mean = gaussian_filter(image * mask, sigma, mode="constant") / np.maximum(
        weight, _MIN_MASK_WEIGHT
    )
    flat = image - mean
    floor = flat[inside].min()
    return np.where(inside, flat, floor).astype(np.float32)
