"""Rigid, then deformable registration; each step yields a transform from fixed to moving points."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from synthct.data.errors import DataError
from synthct.data.volume import Grid, Triple
from synthct.tasks.pipeline.randomness import derive_seed
from synthct.tasks.registration.elastix.run import StepFailed, run_rigid
from synthct.tasks.registration.held_bone import with_bone_held
from synthct.tasks.registration.job import Job
from synthct.tasks.registration.methods import Method
from synthct.tasks.registration.preset import Preset
from synthct.tasks.registration.rigid.bone_pose import bone_pose
from synthct.tasks.registration.rigid.landscape import nearest_peak
from synthct.tasks.registration.rigid.starts import Overview, ranked_starts, shift_transform
from synthct.tasks.registration.scan_pair import ScanPair

Tell = Callable[[str], None]
"""Progress callback, called with the name of each step when it starts."""

WITNESS_NOISE = 0.25
"""Tolerated relative error of (normalised mutual information - 1) of the coarse overview [1]: for a
digital head on 8 mm voxels, it rated the start 6 % higher than the peak of a finer search and 18 %
higher than the elastix results, all of which were closer to the truth."""


MAX_DICE_LOSS = 0.03
"""Loss of the bodies' Dice, relative to both elastix's pose and the unmoved one, above which a pose
by bone is rejected [1]: it has found another dark place near the skin."""


@dataclass(frozen=True)
class Steps:
    """Transforms from fixed to moving points; each step starts from the previous one.

    Parameters
    ----------
    rigid, deformable
        ``None`` when the step failed.
    failures
        Error message by step name.
    """

    rigid: sitk.Euler3DTransform | None
    deformable: sitk.CompositeTransform | None
    failures: dict[str, str]


def align(
    pair: ScanPair,
    grid: Grid,
    preset: Preset,
    method: Method,
    *,
    seed: int,
    threads: int = 1,
    tell: Tell,
) -> Steps:
    """Register ``pair.moving`` to ``pair.fixed`` on the working grid.

    Results are bitwise reproducible for the same seed and thread count. A step that fails is
    reported in ``failures``; the next one then starts from the best available transform.
    """
    job = Job.of(pair, grid, preset, seed=seed, threads=threads)
    view = Overview.of(pair)
    starts = ranked_starts(view)
    failures: dict[str, str] = {}
    tell("rigid")
    rigid: sitk.Euler3DTransform | None = None
    try:
        rigid = _rigid(job, view, starts)
        placed = [rigid, *map(shift_transform, starts)]
        by_bone = bone_pose(pair, placed, seed=derive_seed(job.seed, "bone"))
        least = min(view.overlap(pose) for pose in (rigid, sitk.Euler3DTransform()))
        if by_bone and view.overlap(by_bone) > least - MAX_DICE_LOSS:
            rigid = by_bone
    except StepFailed as error:
        failures["rigid"] = str(error)
    tell("deformable")
    deformable: sitk.CompositeTransform | None = None
    try:
        begin = _shifted(starts[0]) if rigid is None else rigid
        deformable = with_bone_held(job, begin, method.deformable(job, begin))
    except DataError as error:
        failures["deformable"] = str(error)
    return Steps(rigid, deformable, failures)


def _rigid(job: Job, view: Overview, starts: Sequence[Triple]) -> sitk.Euler3DTransform:
    """The first result with more information than every start; each start has its own seed.

    elastix evaluates the metric only where both masks overlap, so it can improve it by moving
    mismatched regions out of the moving mask (a lung was misaligned by 10 mm in this way). The
    coarse overview uses the whole fixed body. Where no elastix result exceeds the best start,
    that start is refined by a local search.
    """
    floor = view.information(shift_transform(starts[0]))
    failure = StepFailed(
        f"the rigid step ended worse than it began from each of {len(starts)} starts",
        rule="a rigid step raises the mutual information",
        remedy="check that both scans show the same part of the patient",
        code="rigid-worse",
    )
    for number, start in enumerate(starts):
        try:
            found = _rigid_from(job, start, derive_seed(job.seed, "rigid", str(number)))
        except StepFailed as error:
            failure = error
            continue
        if view.information(found) > floor:
            return found
    refined = nearest_peak(view.pair, _shifted(starts[0]), seed=job.seed)
    # The overview is coarse: it may rate a true peak slightly below the start.
    if view.information(refined) - 1 > (1 - WITNESS_NOISE) * (floor - 1):
        return refined
    raise failure


def _rigid_from(job: Job, start: Triple, seed: int) -> sitk.Euler3DTransform:
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
