"""A deformation that keeps dense bone at its position after the rigid step."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk
from scipy.ndimage import distance_transform_edt

from synthct.data.itk import displacement_to_itk
from synthct.data.volume import Displacement
from synthct.tasks.fields.geometry import displacement_of
from synthct.tasks.registration.bone import bone_darkness, large_bone
from synthct.tasks.registration.gate.measures import moved_scan
from synthct.tasks.registration.job import Job

REACH_MM = 15.0
"""Width of the Gaussian in the distance from bone by which the deformation is faded in [mm]."""

MIN_LOSS = 0.02
"""Loss of bone darkness above which bone is held [1]."""


def with_bone_held(
    job: Job, rigid: sitk.Transform, deformable: sitk.CompositeTransform
) -> sitk.CompositeTransform:
    r"""The deformable step, faded out at dense bone if it moves bone off the MR's dark places.

    A similarity of the whole body hardly depends on a thin cortex, which then moves with the soft
    tissue around it. In that case, with the displacement :math:`u` beyond the rigid step and the
    distance :math:`d` from dense bone,

    .. math:: u'(x) = \left(1 - e^{-d(x)^2 / 2 r^2}\right)\, u(x)

    with :math:`r` of 15 mm, is used where it leaves bone on darker places than :math:`u` does.

    Parameters
    ----------
    job
        The pair on its working grid.
    rigid
        The rigid step, from fixed to moving points.
    deformable
        The transform x -> rigid(x + u(x)).
    """
    body = np.asarray(job.compared.fixed_mask.array) > 0

    def darkness(transform: sitk.Transform) -> float | None:
        moved = moved_scan(job.pair, job.grid, transform)
        return bone_darkness(job.compared.fixed, moved, body)

    before, free = darkness(rigid), darkness(deformable)
    if before is None or free is None or free > before - MIN_LOSS:
        return deformable
    held = _held(job, rigid, deformable)
    after = darkness(held)
    return held if after is not None and after > free else deformable


def _held(
    job: Job, rigid: sitk.Transform, deformable: sitk.CompositeTransform
) -> sitk.CompositeTransform:
    grid = job.grid
    ct = np.asarray(moved_scan(job.pair, grid, rigid).array)
    away_mm = distance_transform_edt(~large_bone(ct, grid.spacing_mm), sampling=grid.spacing_mm)
    free = 1 - np.exp(-0.5 * (away_mm / REACH_MM) ** 2)
    u = displacement_of(deformable.GetNthTransform(1), grid).vectors * free
    field = sitk.DisplacementFieldTransform(displacement_to_itk(Displacement(u, grid)))
    return sitk.CompositeTransform([rigid, field])
