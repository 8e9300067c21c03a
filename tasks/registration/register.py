"""A checked pair in, the standing transform and its quality out: what case and file share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import SimpleITK as sitk

from data.faults import DataFault
from data.itk import resample
from data.volume import Displacement, Grid, Volume
from tasks.registration.align import Steps, Tell, align
from tasks.registration.elastix import sample_region_mm
from tasks.registration.gate import GateParams, Judgement, StepName, judge
from tasks.registration.geometry import require_extent
from tasks.registration.measures import Moved, StepMeasures, measure, move
from tasks.registration.methods import Method
from tasks.registration.preset import Preset
from tasks.registration.scan_pair import ScanPair


@dataclass(frozen=True, eq=False)
class Registered:
    """What stands after the gate, on the working grid.

    Parameters
    ----------
    source, body
        The fixed scan and its body.
    transform
        From fixed to moving points.
    moved
        The moving scan under it.
    unregistered
        The moving scan as it came.
    rigid
        Displacement of the rigid step; ``None`` when it failed.
    judgement
        Step, verdict, reason.
    quality
        Verdict and the figures of each step as plain JSON.
    """

    grid: Grid
    source: Volume
    body: Volume
    transform: sitk.Transform
    moved: Moved
    unregistered: Moved
    rigid: Displacement | None
    judgement: Judgement
    quality: Mapping[str, Any]


def register(
    pair: ScanPair,
    grid: Grid,
    preset: Preset,
    gate: GateParams,
    method: Method,
    *,
    seed: int,
    threads: int = 1,
    tell: Tell,
) -> Registered:
    """Align the pair on the working grid, measure every step and let the gate choose."""
    require_extent(grid)
    source = resample(pair.fixed, grid, outside=float(pair.fixed.array.min()))
    body = resample(pair.fixed_body, grid, outside=0, nearest=True)
    steps = align(pair, grid, preset, method, seed=seed, threads=threads, tell=tell)
    tell("gate")
    transforms = _transforms(steps)
    moved = {name: move(pair, grid, transform) for name, transform in transforms.items()}
    rigid = moved["rigid"].displacement if "rigid" in moved else None
    measured = {
        name: measure(source, body, result, rigid if name == "deformable" else None)
        for name, result in moved.items()
    }
    judgement = judge(measured, steps.failures, gate)
    if measured[judgement.step].dice == 0.0:
        raise DataFault(
            "the two scans show a common part of the patient",
            got=f"no overlap of the bodies after every step ({judgement.reason})",
            remedy="check that both scans are of the same patient and region",
            code="no-overlap",
        )
    return Registered(
        grid=grid,
        source=source,
        body=body,
        transform=transforms[judgement.step],
        moved=moved[judgement.step],
        unregistered=moved["identity"],
        rigid=rigid,
        judgement=judgement,
        quality=_quality(preset, grid, steps, judgement, measured),
    )


def _transforms(steps: Steps) -> dict[StepName, sitk.Transform]:
    transforms: dict[StepName, sitk.Transform] = {"identity": sitk.Euler3DTransform()}
    if steps.rigid is not None:
        transforms["rigid"] = steps.rigid
    if steps.deformable is not None:
        transforms["deformable"] = steps.deformable
    return transforms


def _quality(
    preset: Preset,
    grid: Grid,
    steps: Steps,
    judgement: Judgement,
    measured: Mapping[StepName, StepMeasures],
) -> dict[str, Any]:
    return {
        **asdict(judgement),
        "preset": preset.name,
        "sample_region_mm": sample_region_mm(preset.bspline, grid),
        "sample_region_asked_mm": preset.bspline.sample_region_mm,
        "steps": {name: asdict(values) for name, values in measured.items()},
        "failures": dict(steps.failures),
    }
