"""Rigid, then deformable: every step's transform from fixed to moving points."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from synthct.data.errors import DataError
from synthct.data.volume import Grid, Triple
from synthct.tasks.pipeline.randomness import derive_seed
from synthct.tasks.registration.elastix.run import StepFailed, run_rigid
from synthct.tasks.registration.job import Job
from synthct.tasks.registration.methods import Method
from synthct.tasks.registration.preset import Preset
from synthct.tasks.registration.rigid.landscape import nearest_peak
from synthct.tasks.registration.rigid.starts import Overview, ranked_starts, shift_transform
from synthct.tasks.registration.scan_pair import ScanPair

Tell = Callable[[str], None]
"""Told the name of each step as it starts."""

WITNESS_NOISE = 0.25
"""Share of (normalised mutual information - 1) by which the witness may err [1]: on 8 mm voxels, it
held the start of a digital head for 6 % more informative than the peak that a finer look found, and
18 % more than elastix' ends, all nearer to the truth."""


@dataclass(frozen=True)
class Steps:
    """Transforms from fixed to moving points, each built on the one before.

    Parameters
    ----------
    rigid, deformable
        ``None`` when the step failed.
    failures
        Step name to what went wrong.
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

    One seed gives the same bytes at the same thread count. A step that fails is reported in
    ``failures``; the next one starts from what there is.
    """
    job = Job.of(pair, grid, preset, seed=seed, threads=threads)
    view = Overview.of(pair)
    starts = ranked_starts(view)
    failures: dict[str, str] = {}
    tell("rigid")
    rigid: sitk.Euler3DTransform | None = None
    try:
        rigid = _rigid(job, view, starts)
    except StepFailed as error:
        failures["rigid"] = str(error)
    tell("deformable")
    deformable: sitk.CompositeTransform | None = None
    try:
        deformable = method.deformable(job, _shifted(starts[0]) if rigid is None else rigid)
    except DataError as error:
        failures["deformable"] = str(error)
    return Steps(rigid, deformable, failures)


def _rigid(job: Job, view: Overview, starts: Sequence[Triple]) -> sitk.Euler3DTransform:
    """The first end that is more informative than every start; another start has another seed.

    elastix compares only where both masks meet, so it can gain by moving what disagrees out of
    the moving mask (a lung ended 10 mm off so). The witness looks at the whole fixed body. Where
    no end convinces it, its own search refines the best start.
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
    # The witness is coarse: a peak may lie a little below its start in its eyes.
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
