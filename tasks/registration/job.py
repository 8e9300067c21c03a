"""One pair on its working grid: what every method is given."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import SimpleITK as sitk

from data.itk import resample, to_itk
from data.volume import Grid, Modality, Volume
from tasks.registration.geometry import grown, in_fixed_frame
from tasks.registration.intensities import prepared
from tasks.registration.preset import Preset
from tasks.registration.scan_pair import ScanPair

BONE_HU = 200.0
"""CT numbers above it are stiff where a penalty knows bone [HU]."""


@dataclass(frozen=True)
class Images:
    """What is compared, in ITK's hands: float32 images and uint8 masks."""

    fixed: sitk.Image
    moving: sitk.Image
    fixed_mask: sitk.Image
    moving_mask: sitk.Image


@dataclass(frozen=True, eq=False)
class Job:
    """A pair to register on ``grid`` as ``preset`` says; one seed gives the same bytes."""

    pair: ScanPair
    images: Images
    grid: Grid
    preset: Preset
    seed: int
    threads: int

    @classmethod
    def of(cls, pair: ScanPair, grid: Grid, preset: Preset, *, seed: int, threads: int) -> Job:
        """The pair with the intensities and masks that are compared."""
        return cls(pair, _images(pair, grid, preset), grid, preset, seed, threads)

    def placed(self, transform: sitk.Transform) -> Images:
        """The images with the moving one carried back by ``transform`` (fixed -> moving)."""
        return replace(
            self.images,
            moving=in_fixed_frame(self.images.moving, transform),
            moving_mask=in_fixed_frame(self.images.moving_mask, transform),
        )

    def bone(self) -> Volume | None:
        """1 in the bone of the moving CT, 0 elsewhere, on its grid; nothing for an MR."""
        if self.pair.moving.modality is not Modality.CT:
            return None
        bone = (self.pair.moving.array > BONE_HU) & (self.pair.moving_body.array > 0)
        return self.pair.moving.with_array(bone.astype(np.float32), Modality.MASK)


def _images(pair: ScanPair, grid: Grid, preset: Preset) -> Images:
    fixed = resample(pair.fixed, grid, outside=float(pair.fixed.array.min()))
    body = resample(pair.fixed_body, grid, outside=0, nearest=True)
    return Images(
        fixed=to_itk(prepared(fixed, body.array, preset)),
        moving=to_itk(prepared(pair.moving, pair.moving_body.array, preset)),
        fixed_mask=_grown(body, preset),
        moving_mask=_grown(pair.moving_body, preset),
    )


def _grown(body: Volume, preset: Preset) -> sitk.Image:
    mask = grown(body.array, body.grid.spacing_mm, preset.mask_margin_mm)
    return to_itk(body.with_array(mask))
