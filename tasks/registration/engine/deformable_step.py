"""The deformable step by the torch engine, with ITK transforms as input and output."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from synthct.data.errors import DataError
from synthct.data.itk import displacement_to_itk, resample
from synthct.data.volume import Displacement
from synthct.tasks.fields.geometry import carried_back
from synthct.tasks.pipeline.randomness import derive_seed
from synthct.tasks.registration.engine.deform import Pair, deform
from synthct.tasks.registration.engine.settings import Settings
from synthct.tasks.registration.job import Job

BONE_STIFFNESS = 10.0
"""Stiffness of bone relative to soft tissue [1]."""


def engine_step(job: Job, rigid: sitk.Transform, settings: Settings) -> sitk.CompositeTransform:
    """The transform x -> rigid(x + u(x)), with u from the engine on the working grid."""
    seed = derive_seed(job.seed, "engine")
    found = deform(_pair(job, rigid), settings, seed=seed).displacement
    _require_finite(found)
    field = sitk.DisplacementFieldTransform(displacement_to_itk(found))
    # ITK applies the transform added last first.
    return sitk.CompositeTransform([rigid, field])


def _pair(job: Job, rigid: sitk.Transform) -> Pair:
    seen = job.compared
    moving, mask = (carried_back(scan, rigid) for scan in (seen.moving, seen.moving_mask))
    bone = job.bone()
    stiffness = None
    if bone is not None:
        share = resample(carried_back(bone, rigid), job.grid, outside=0).array
        stiffness = 1 + (BONE_STIFFNESS - 1) * share
    return Pair(
        seen.fixed,
        resample(moving, job.grid, outside=float(moving.array.min())),
        seen.fixed_mask.array,
        resample(mask, job.grid, outside=0, nearest=True).array,
        stiffness,
    )


def _require_finite(found: Displacement) -> None:
    if not np.isfinite(found.vectors).all():
        raise DataError(
            "the registration diverged: its displacement holds NaN or infinity",
            rule="a displacement is finite",
            remedy="lower step_mm, or raise a penalty's weight",
            code="engine-diverged",
        )
