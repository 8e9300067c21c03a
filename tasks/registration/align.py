"""Rigid, then B-spline: every step's transform from fixed to moving points."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import SimpleITK as sitk

from data.itk import resample, to_itk
from data.volume import Grid, Modality, Volume
from tasks.randomness import derive_seed
from tasks.registration.elastix import Images, StepFailed, run_bspline, run_rigid
from tasks.registration.geometry import grown, in_fixed_frame
from tasks.registration.intensities import prepared
from tasks.registration.preset import BSplineStep, Preset
from tasks.registration.scan_pair import ScanPair
from tasks.registration.starts import best_start, shift_transform

BONE_HU = 200.0
"""CT numbers above it are stiff in the rigidity penalty [HU]."""

EXTENT_SHARE = 0.8
"""Largest share of the smallest extent that the sample region may have (elastix raises at 1)."""

Tell = Callable[[str], None]
"""Told the name of each step as it starts."""


@dataclass(frozen=True)
class Steps:
    """Transforms from fixed to moving points, each built on the one before.

    Parameters
    ----------
    rigid, deformable
        ``None`` when the step failed.
    failures
        Step name to what went wrong.
    sample_region_mm
        Side of the sample region that was used [mm]; 0: the whole body.
    """

    rigid: sitk.Euler3DTransform | None
    deformable: sitk.CompositeTransform | None
    failures: dict[str, str]
    sample_region_mm: float


def align(
    pair: ScanPair, grid: Grid, preset: Preset, *, seed: int, threads: int = 1, tell: Tell
) -> Steps:
    """Register ``pair.moving`` to ``pair.fixed`` on the working grid.

    One seed gives the same bytes at the same thread count. A step that fails is reported in
    ``failures``; the next one starts from what there is.
    """
    images = _images(pair, grid, preset)
    region_mm = sample_region_mm(preset.bspline, grid)
    failures: dict[str, str] = {}
    tell("rigid")
    rigid: sitk.Euler3DTransform | None = None
    try:
        rigid = _rigid(pair, images, grid, preset, derive_seed(seed, "rigid"), threads)
    except StepFailed as fault:
        failures["rigid"] = str(fault)
    tell("deformable")
    deformable: sitk.CompositeTransform | None = None
    if rigid is not None:
        try:
            deformable = _deformable(
                pair, images, rigid, preset, region_mm, derive_seed(seed, "bspline"), threads
            )
        except StepFailed as fault:
            failures["deformable"] = str(fault)
    return Steps(rigid, deformable, failures, region_mm)


def sample_region_mm(step: BSplineStep, grid: Grid) -> float:
    """The preset's sample region, at most 0.8 of the smallest extent [mm]."""
    return min(step.sample_region_mm, EXTENT_SHARE * min(grid.extent_mm))


def _rigid(
    pair: ScanPair, images: Images, grid: Grid, preset: Preset, seed: int, threads: int
) -> sitk.Euler3DTransform:
    start = shift_transform(best_start(pair))
    placed = replace(
        images,
        moving=in_fixed_frame(images.moving, start),
        moving_mask=in_fixed_frame(images.moving_mask, start),
    )
    transform = run_rigid(
        placed, preset.rigid, centre_mm=grid.centre_mm, seed=seed, threads=threads
    )
    shifted = np.add(transform.GetTranslation(), start.GetOffset())
    transform.SetTranslation(shifted.tolist())
    return transform


def _deformable(
    pair: ScanPair,
    images: Images,
    rigid: sitk.Euler3DTransform,
    preset: Preset,
    region_mm: float,
    seed: int,
    threads: int,
) -> sitk.CompositeTransform:
    """The B-spline on the fixed side of the rigid transform: x -> rigid(x + spline(x))."""
    placed = replace(
        images,
        moving=in_fixed_frame(images.moving, rigid),
        moving_mask=in_fixed_frame(images.moving_mask, rigid),
    )
    stiff = None
    if preset.bspline.rigidity_weight > 0 and pair.moving.modality == Modality.CT:
        stiff = in_fixed_frame(to_itk(_bone(pair)), rigid)
    spline = run_bspline(
        placed,
        preset.bspline,
        sample_region_mm=region_mm,
        stiff=stiff,
        seed=seed,
        threads=threads,
    )
    # ITK applies the transform that was added last first.
    return sitk.CompositeTransform([rigid, spline])


def _bone(pair: ScanPair) -> Volume:
    bone = (pair.moving.array > BONE_HU) & (pair.moving_body.array > 0)
    return pair.moving.with_array(bone.astype(np.float32), Modality.MASK)


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
