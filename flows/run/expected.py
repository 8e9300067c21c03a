"""Forecast of a run: time of each stage, memory and disk."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, median
from typing import TYPE_CHECKING, Any

from synthct.flows.run.running import RUN, runs_folder
from synthct.flows.workspace.needs import SERVICES_GB, disk_gb, memory_gb, needs_line, voxels_of
from synthct.flows.workspace.proposal import Fingerprint
from synthct.tasks.pipeline.progress import spelled_s

if TYPE_CHECKING:
    from synthct.tasks.chain.params import Params
    from synthct.tasks.ingestion.dataset import RawDataset
    from synthct.tasks.training.probe import Probed

FIELD_MM = (240.0, 300.0, 400.0)
"""Extent (z, y, x) of a digital patient's scans, about [mm]."""

SAMPLED_SCANS = 6
"""Number of scans whose size is read; the others are assumed to have the median size."""

START_S = 10.0
"""Start of server, cluster and DVC, and the bookkeeping of a stage [s]."""

ELSEWHERE: Mapping[str, tuple[float, float]] = {
    "cohort": (6.0, 12.0),
    "ingestion": (4.0, 1.5),
    "elastix": (32.0, 15.0),
    "engine": (5.0, 10.0),
    "evaluation": (4.0, 4.0),
    "export": (15.0, 5.0),
    "report": (0.4, 0.4),
}
"""Seconds of a unit, and more for each million voxels of a case, on a core of a Xeon: fitted to the
times of docs/benchmarks/chain.md (digital patients) and real_patients.md. A registration is that of
its method; a unit of export is one network."""

PUBLISHED = 3.0
"""How many times longer the published registration parameters take than those of the demo: an
assumption, until a case has been registered on the machine."""

NETWORK_S = 10.0
"""Time of a network besides its steps: imports, reading its cases, validation [s]."""


@dataclass(frozen=True)
class StageTime:
    """Expected time of a stage.

    Parameters
    ----------
    units
        Patients, cases or networks to compute.
    seconds
        Wall time of the stage [s]; None: unknown.
    basis
        ``measured now``, ``earlier run here`` or ``typical``.
    """

    stage: str
    units: int
    seconds: float | None
    basis: str


@dataclass(frozen=True)
class Expected:
    """Times of the stages of a run, its memory and its disk [GB]."""

    stages: tuple[StageTime, ...]
    memory_gb: float
    disk_gb: float

    @property
    def seconds(self) -> float:
        """Total of the known times [s]."""
        return sum(each.seconds or 0.0 for each in self.stages)

    def as_json(self) -> dict[str, Any]:
        """Plain JSON."""
        stages = [asdict(each) for each in self.stages]
        needs = {"memory_gb": round(self.memory_gb, 2), "disk_gb": round(self.disk_gb, 2)}
        return {"stages": stages, "seconds": round(self.seconds, 1), **needs}

    def lines(self, root: Path) -> list[str]:
        """Lines of text for the terminal."""
        unknown = [each.stage for each in self.stages if each.seconds is None]
        told = f"about {spelled_s(self.seconds)} in all"
        if unknown:
            told += f", without {', '.join(unknown)}"
        if any(each.basis == TYPICAL for each in self.stages):
            told += f"; {TYPICAL} times are those of a Xeon core and may be off by half"
        return [told, needs_line(self.memory_gb, self.disk_gb, root)]


NOW, BEFORE, TYPICAL = "measured now", "earlier run here", "typical"


def expected(
    root: Path,
    name: str,
    params: Params,
    raw: Path,
    stages: Sequence[str],
    probed: Sequence[Probed],
    at_once: int,
) -> Expected:
    """The forecast for the stages of a workspace.

    Parameters
    ----------
    name
        Name of the workspace, by which earlier runs of it are known.
    raw
        Folder of its data set; read for the number and sizes of the scans.
    probed
        Measured training, of each source.
    at_once
        Units that run at a time.
    """
    found = cohort_of(params, raw)
    return expected_of(params, found, stages, probed, at_once, earlier(runs_folder(root), name))


def expected_of(
    params: Params,
    found: Fingerprint,
    stages: Sequence[str],
    probed: Sequence[Probed],
    at_once: int,
    known: Mapping[str, float],
) -> Expected:
    """The forecast for cases of known number and size; ``known``: seconds of a unit by stage."""
    grid = params.registration.grid_spacing_mm
    voxels = voxels_of(found, grid)
    units = _units(params, found, probed)
    times = []
    for stage in stages:
        if stage in ("training", "study"):
            times.append(StageTime(stage, units[stage], _training_s(probed) + START_S, NOW))
            continue
        count = units.get(stage, found.patients)
        each_s, basis = known.get(stage), BEFORE
        if each_s is None:
            each_s, basis = _typical_s(stage, voxels, params, found), TYPICAL
        rounds = math.ceil(count / max(1, min(at_once, count)))
        whole = None if each_s is None else rounds * each_s + START_S
        times.append(StageTime(stage, count, whole, basis if whole else "unknown"))
    return Expected(tuple(times), memory_gb(at_once, voxels) + SERVICES_GB, disk_gb(found, grid))


def _units(params: Params, found: Fingerprint, probed: Iterable[Probed]) -> dict[str, int]:
    pairs, networks = sum(found.pairs.values()), sum(each.networks for each in probed)
    return {
        "cohort": found.patients, "reconstruction": found.patients, "ingestion": found.patients,
        "registration": pairs, "evaluation": pairs, "report": pairs, "training": networks,
        "study": networks, "export": len(params.training.sources), "pretraining": networks,
    }  # fmt: skip


def _training_s(probed: Iterable[Probed]) -> float:
    return sum(
        3600 * each.hours + math.ceil(each.networks / each.workers) * NETWORK_S for each in probed
    )


def _typical_s(stage: str, voxels: float, params: Params, found: Fingerprint) -> float | None:
    if stage == "registration":
        return _registration_s(voxels, params, found)
    if stage not in ELSEWHERE:
        return None
    fixed_s, per_million_s = ELSEWHERE[stage]
    seconds = fixed_s + per_million_s * voxels / 1e6
    if stage == "export":
        return seconds * max(params.training.folds, len(params.training.test_patients))
    return seconds


def _registration_s(voxels: float, params: Params, found: Fingerprint) -> float:
    """Mean over the sources and regions of the cases, whose methods may differ."""
    chosen, each_s = params.registration, []
    for source in found.pairs:
        for region, patients in (found.regions or {"other": 1}).items():
            elastix = chosen.method_of(source, region)[0].startswith("elastix")
            fixed_s, per_million_s = ELSEWHERE["elastix" if elastix else "engine"]
            each_s += [fixed_s + per_million_s * voxels / 1e6] * patients
    return fmean(each_s) * (PUBLISHED if chosen.variant == "published" else 1.0)


def earlier(runs: Path, name: str) -> dict[str, float]:
    """Median seconds of a unit of each stage, from the newest run of this workspace that ran it."""
    found: dict[str, float] = {}
    for record in sorted(runs.glob("*/")):
        try:
            if json.loads((record / RUN).read_text())["workspace"] != name:
                continue
            events = [json.loads(line) for line in (record / "events.jsonl").open()]
        except (OSError, ValueError, KeyError, TypeError):
            continue  # written by another version, or truncated by a full disk
        seconds: dict[str, list[float]] = {}
        for event in events:
            computed = event.get("kind") == "unit_done" and "seconds" in event
            if computed and not event.get("reused") and not event.get("excluded"):
                seconds.setdefault(str(event.get("stage")), []).append(float(event["seconds"]))
        found |= {stage: median(values) for stage, values in seconds.items()}
    return found


def cohort_of(params: Params, raw: Path) -> Fingerprint:
    """Number and size of the cases: of the digital patients, or of the scans in ``raw``."""
    from synthct.tasks.ingestion.dataset import load_dataset
    from synthct.tasks.pipeline.artefacts import DATASET

    sources = params.training.sources
    if params.cohort is not None and not (raw / DATASET).is_file():
        patients = len(params.cohort.regions) * params.cohort.patients_per_region
        spacing = params.registration.grid_spacing_mm
        every: dict[str, int] = dict.fromkeys(sources, patients)
        regions: dict[str, int] = dict.fromkeys(params.cohort.regions, 1)
        return Fingerprint(every, patients, regions, spacing, FIELD_MM)
    dataset = load_dataset(raw)
    pairs = {
        source: [one for one in dataset.patients.values() if {"ct", source} <= one.scans.keys()]
        for source in sources
    }
    extents = _extents(dataset, raw, sources)
    z, y, x = (median(axis) for axis in zip(*extents, strict=True)) if extents else FIELD_MM
    counts: dict[str, int] = {source: len(found) for source, found in pairs.items()}
    spacing = params.registration.grid_spacing_mm
    regions = Counter(patient.region for patient in dataset.patients.values())
    return Fingerprint(counts, len(dataset.patients), dict(regions), spacing, (z, y, x))


def _extents(
    dataset: RawDataset, raw: Path, sources: Iterable[str]
) -> list[tuple[float, float, float]]:
    from synthct.data.errors import SynthctError
    from synthct.data.readers import describe

    files = [
        raw / scan.path
        for patient in dataset.patients.values()
        for name, scan in sorted(patient.scans.items())
        if name in sources
    ]
    found = []
    for file in files[:: max(1, len(files) // SAMPLED_SCANS)][:SAMPLED_SCANS]:
        try:
            found.append(describe(file).grid.extent_mm)
        except SynthctError:
            continue  # ingestion will report what is wrong with it
    return found
