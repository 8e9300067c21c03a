"""Registration of a validated pair with the gate; shared by cases and files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import SimpleITK as sitk

from synthct.data.errors import DataError
from synthct.data.itk import resample
from synthct.data.volume import Grid, Volume
from synthct.tasks.fields.geometry import displacement_of, require_extent
from synthct.tasks.registration.align import Steps, Tell, align
from synthct.tasks.registration.elastix.run import sample_region_mm
from synthct.tasks.registration.gate.gate import (
    Judgement,
    StepName,
    doubted,
    judge,
    judge_delivered,
    objections,
)
from synthct.tasks.registration.gate.measures import Moved, StepMeasures, measure, move, moved_scan
from synthct.tasks.registration.gate.params import GateParams
from synthct.tasks.registration.inverse import RoundTrip, register_back
from synthct.tasks.registration.methods import Method
from synthct.tasks.registration.plausible import require_plausible
from synthct.tasks.registration.preset import Preset
from synthct.tasks.registration.rigid.competing_poses import CompetingPoses, find_competing_poses
from synthct.tasks.registration.rigid.global_search import find_pose
from synthct.tasks.registration.rigid.initial import after, placed
from synthct.tasks.registration.scan_pair import ScanPair


@dataclass(frozen=True, eq=False)
class Registered:
    """Result selected by the gate, on the working grid.

    Parameters
    ----------
    source, body
        The fixed scan and its body.
    transform
        From fixed to moving points.
    moved
        The moving scan resampled with ``transform``.
    unregistered
        The moving scan before registration (as placed by ``initial``, if given).
    rigid
        Transform of the rigid step; ``None`` when it failed.
    judgement
        Selected step, verdict and reason.
    quality
        Verdict and quality measures of each step, JSON-serialisable.
    """

    grid: Grid
    source: Volume
    body: Volume
    transform: sitk.Transform
    moved: Moved
    unregistered: Volume
    rigid: sitk.Transform | None
    judgement: Judgement
    quality: Mapping[str, Any]


def register(
    pair: ScanPair,
    grid: Grid,
    preset: Preset,
    gate: GateParams,
    method: Method,
    *,
    initial: sitk.Transform | None = None,
    seed: int,
    threads: int = 1,
    tell: Tell,
    as_delivered: bool = False,
) -> Registered:
    """Align the pair on the working grid, measure every step and select one by the gate.

    With ``as_delivered`` nothing is moved: the pair is measured and judged in its delivered
    alignment.

    ``initial`` is an initial rigid transform from fixed to moving points, which is then applied to
    "unregistered" as well. A pair that fails or has a competing pose is registered once more from
    the result of a global search, and the better attempt is kept (``searched_globally`` in the
    quality: whether that is the second one).
    """
    require_plausible(pair)
    require_extent(grid)
    source = resample(pair.fixed, grid, outside=float(pair.fixed.array.min()))
    body = resample(pair.fixed_body, grid, outside=0, nearest=True)
    start = placed(pair, initial)
    begun = sitk.Euler3DTransform() if initial is None else initial

    if as_delivered:
        tell("gate")
        return _as_delivered(pair, grid, source, body, begun, preset, gate, seed)

    def attempt(begin: ScanPair, identity: StepMeasures | None = None) -> _Attempt:
        steps = align(begin, grid, preset, method, seed=seed, threads=threads, tell=tell)
        tell("gate")
        return _judged(begin, steps, source, body, gate, seed, identity)

    tried = attempt(start)
    searched = None
    if gate.search_globally and tried.in_doubt(gate):
        pose, _ = find_pose(start, seed=seed)
        again = attempt(placed(start, pose), tried.measured["identity"])
        if again.is_better_than(tried):
            tried, searched = again.after(pose), pose
    transforms, judgement = tried.transforms, tried.judgement
    _require_overlap(tried.measured[judgement.step], judgement)
    back = None
    if gate.register_back:
        tell("back")
        there = transforms[judgement.step]
        back = register_back(start, grid, there, preset, method, seed=seed, threads=threads)
        judgement = _after_round_trip(judgement, back, gate)
    if initial is not None:
        transforms = {name: after(initial, found) for name, found in transforms.items()}
    return Registered(
        grid=grid,
        source=source,
        body=body,
        transform=transforms[judgement.step],
        moved=move(pair, grid, transforms[judgement.step]),
        unregistered=moved_scan(pair, grid, begun),
        rigid=transforms.get("rigid"),
        judgement=judgement,
        quality=_quality(preset, grid, tried.steps, judgement, tried.measured)
        | {
            "competing_poses": _plain(tried.competing),
            "round_trip": _plain(back),
            "searched_globally": searched is not None,
        },
    )


def _as_delivered(
    pair: ScanPair,
    grid: Grid,
    source: Volume,
    body: Volume,
    pose: sitk.Transform,
    preset: Preset,
    gate: GateParams,
    seed: int,
) -> Registered:
    """The pair at its pose, measured and judged.

    No registration has searched near that pose, so any better pose more than ``still_mm`` away
    competes with it. The search from the pose itself is always made, because bodies that fill a
    tight field of view overlap at any alignment.
    """
    moved = move(pair, grid, pose)
    measured: dict[StepName, StepMeasures] = {"identity": measure(source, body, moved)}
    steps = Steps(sitk.Euler3DTransform(pose), None, {})
    competing = find_competing_poses(
        pair, pose, starts=gate.competing_starts, near_mm=gate.still_mm, seed=seed
    )
    judgement = judge_delivered(measured["identity"], gate, competing)
    _require_overlap(measured["identity"], judgement)
    return Registered(
        grid=grid,
        source=source,
        body=body,
        transform=pose,
        moved=moved,
        unregistered=moved.scan,
        rigid=None,
        judgement=judgement,
        quality=_quality(preset, grid, steps, judgement, measured)
        | {
            "competing_poses": _plain(competing),
            "round_trip": None,
            "searched_globally": False,
        },
    )


@dataclass(frozen=True, eq=False)
class _Attempt:
    """One run of all steps, with its gate judgement."""

    steps: Steps
    transforms: dict[StepName, sitk.Transform]
    measured: dict[StepName, StepMeasures]
    competing: CompetingPoses | None
    judgement: Judgement

    def in_doubt(self, gate: GateParams) -> bool:
        """Whether it failed or a competing pose casts doubt on its rigid step."""
        against = self.competing is not None and bool(objections(self.competing, gate)[0])
        return self.judgement.verdict == "fail" or against

    def is_better_than(self, other: _Attempt) -> bool:
        """By the verdict where one has failed, else by mutual information of the rigid steps.

        Both are evaluated at the same points, which depend on the seed.
        """
        if self.judgement.verdict == "fail" or other.judgement.verdict == "fail":
            return self.judgement.verdict != "fail"
        if self.competing is None or other.competing is None:
            return False
        return self.competing.rigid > other.competing.rigid

    def after(self, pose: sitk.Transform) -> _Attempt:
        """The same attempt with ``pose`` included in its transforms."""
        return replace(
            self,
            transforms={
                name: found if name == "identity" else after(pose, found)
                for name, found in self.transforms.items()
            },
        )


def _judged(
    pair: ScanPair,
    steps: Steps,
    source: Volume,
    body: Volume,
    gate: GateParams,
    seed: int,
    identity: StepMeasures | None,
) -> _Attempt:
    """Judge the steps; ``identity``, if given, replaces the measures of "identity".

    It holds the measures of the original pose where the pair starts from the pose of a global
    search, with which a step would otherwise be compared. The steps are resampled one at a time,
    because a large scan and its displacement for all three would not fit into memory.
    """
    transforms = _transforms(steps)
    measured: dict[StepName, StepMeasures] = {} if identity is None else {"identity": identity}
    for name, found in transforms.items():
        if name not in measured:
            beyond = steps.rigid if name == "deformable" else None
            rigid = None if beyond is None else displacement_of(beyond, source.grid)
            measured[name] = measure(source, body, move(pair, source.grid, found), rigid)
    competing = _competing(pair, steps, gate, seed)
    judgement = judge(measured, steps.failures, gate, competing)
    return _Attempt(steps, transforms, measured, competing, judgement)


def _plain(found: CompetingPoses | RoundTrip | None) -> dict[str, float] | None:
    return None if found is None else asdict(found)


def _competing(pair: ScanPair, steps: Steps, gate: GateParams, seed: int) -> CompetingPoses | None:
    if steps.rigid is None or gate.competing_starts == 0:
        return None
    return find_competing_poses(
        pair, steps.rigid, starts=gate.competing_starts, near_mm=gate.competing_near_mm, seed=seed
    )


def _after_round_trip(judgement: Judgement, back: RoundTrip | None, gate: GateParams) -> Judgement:
    if back is None:
        return doubted(judgement, "the registration in the reverse direction failed")
    if back.p95_mm > gate.max_round_trip_mm:
        return doubted(
            judgement, f"registering there and back misses the start by {back.p95_mm:.0f} mm (p95)"
        )
    return judgement


def _require_overlap(selected: StepMeasures, judgement: Judgement) -> None:
    if selected.dice == 0.0:
        raise DataError(
            f"the bodies of the two scans do not overlap after any step ({judgement.reason})",
            rule="both scans must show a common part of the patient",
            remedy="check that both scans are of the same patient and region",
            code="no-overlap",
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
