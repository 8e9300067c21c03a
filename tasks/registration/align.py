"""Rigid, then B-spline: every step's transform from fixed to moving points."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import SimpleITK as sitk

from data.itk import resample, to_itk
from data.volume import Grid, Modality, Triple, Volume
from tasks.randomness import derive_seed
from tasks.registration.elastix import Images, StepFailed, run_bspline, run_rigid
from tasks.registration.geometry import grown, in_fixed_frame
from tasks.registration.intensities import prepared
from tasks.registration.preset import BSplineStep, Preset
from tasks.registration.scan_pair import ScanPair
from tasks.registration.starts import Overview, ranked_starts, shift_transform

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
    job = _Job(pair, _images(pair, grid, preset), grid, preset, seed, threads)
    view = Overview.of(pair)
    starts = ranked_starts(view)
    failures: dict[str, str] = {}
    tell("rigid")
    rigid: sitk.Euler3DTransform | None = None
    try:
        rigid = _rigid(job, view, starts)
    except StepFailed as fault:
        failures["rigid"] = str(fault)
    tell("deformable")
    deformable: sitk.CompositeTransform | None = None
    try:
        deformable = _deformable(job, _shifted(starts[0]) if rigid is None else rigid)
    except StepFailed as fault:
        failures["deformable"] = str(fault)
    return Steps(rigid, deformable, failures, job.sample_region_mm)


def sample_region_mm(step: BSplineStep, grid: Grid) -> float:
    """The preset's sample region, at most 0.8 of the smallest extent [mm]."""
    return min(step.sample_region_mm, EXTENT_SHARE * min(grid.extent_mm))


@dataclass(frozen=True, eq=False)
class _Job:
    pair: ScanPair
    images: Images
    grid: Grid
    preset: Preset
    seed: int
    threads: int

    @property
    def sample_region_mm(self) -> float:
        return sample_region_mm(self.preset.bspline, self.grid)

    def placed(self, transform: sitk.Transform) -> Images:
        """The images with the moving one carried back by ``transform``."""
        return replace(
            self.images,
            moving=in_fixed_frame(self.images.moving, transform),
            moving_mask=in_fixed_frame(self.images.moving_mask, transform),
        )


def _rigid(job: _Job, view: Overview, starts: Sequence[Triple]) -> sitk.Euler3DTransform:
    """From the first start that ends better than it began; another start has another seed."""
    fault = StepFailed(
        "the rigid step raises the mutual information over its start",
        got=f"less from each of {len(starts)} starts",
        remedy="check that both scans show the same part of the patient",
        code="rigid-worse",
    )
    for number, start in enumerate(starts):
        try:
            found = _rigid_from(job, start, derive_seed(job.seed, "rigid", str(number)))
        except StepFailed as error:
            fault = error
            continue
        if view.information(found) > view.information(shift_transform(start)):
            return found
    raise fault


def _rigid_from(job: _Job, start: Triple, seed: int) -> sitk.Euler3DTransform:
    shift = shift_transform(start)
    transform = run_rigid(
        job.placed(shift),
        job.preset.rigid,
        centre_mm=job.grid.centre_mm,
        seed=seed,
        threads=job.threads,
    )
    total = np.add(transform.GetTranslation(), shift.GetOffset())
    transform.SetTranslation(total.tolist())
    return transform


def _shifted(start: Triple) -> sitk.Euler3DTransform:
    transform = sitk.Euler3DTransform()
    transform.SetTranslation(shift_transform(start).GetOffset())
    return transform


def _deformable(job: _Job, rigid: sitk.Euler3DTransform) -> sitk.CompositeTransform:
    """The B-spline on the fixed side of the rigid transform: x -> rigid(x + spline(x))."""
    stiff = None
    if job.preset.bspline.rigidity_weight > 0 and job.pair.moving.modality is Modality.CT:
        stiff = in_fixed_frame(to_itk(_bone(job.pair)), rigid)
    spline = run_bspline(
        job.placed(rigid),
        job.preset.bspline,
        sample_region_mm=job.sample_region_mm,
        stiff=stiff,
        seed=derive_seed(job.seed, "bspline"),
        threads=job.threads,
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
