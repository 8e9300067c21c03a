"""Registration against a known displacement: digital patients, by method, region and regularizer.

    python -m benchmarks registration_phantom       writes docs/benchmarks/registration_phantom.md
    python -m benchmarks.registration_phantom --minutes 10 --rows elastix_mi mi

Every patient (seed x region x source) is a piece of its own, stored in
``runs/registration_phantom``: a run that was stopped continues, ``--minutes`` limits one run, and
the page says how many pieces it has. Delete the folder after a change of an engine. All rows start
from the same rigid step (stock elastix), so the tables compare the deformable step.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from benchmarks._registration_phantom_pieces import (
    LONG,
    REFERENCE,
    TUNED,
    file_of,
    load,
    pieces,
)
from benchmarks._registration_phantom_table import page
from synthct.data.errors import DataError
from synthct.data.files import canonical_json, write_whole
from synthct.data.itk import resample
from synthct.data.phantom.patient import make_patient
from synthct.data.volume import Displacement, Grid, Volume
from synthct.tasks.fields.geometry import displacement_of, displacement_on, working_grid
from synthct.tasks.ingestion.body import body_mask
from synthct.tasks.ingestion.params import BodyParams
from synthct.tasks.pipeline.randomness import generator
from synthct.tasks.registration.align import align
from synthct.tasks.registration.gate import measures
from synthct.tasks.registration.gate.measures import StepMeasures
from synthct.tasks.registration.job import Job
from synthct.tasks.registration.methods import METHODS
from synthct.tasks.registration.preset import Preset
from synthct.tasks.registration.presets import preset_called, usual_preset
from synthct.tasks.registration.results import mean_error_mm, rigid_part
from synthct.tasks.registration.rigid.competing_poses import find_competing_poses
from synthct.tasks.registration.scan_pair import ScanPair
from tests.fixtures.digital_patients import SMALL

SEEDS = 10
MINUTES = "SYNTHCT_BENCH_MINUTES"
"""Limits the minutes of ``python -m benchmarks``; without it all pieces are made."""

VOXEL_MM = {"thorax": 6.0, "abdomen": 6.0, "head-neck": 4.5}
"""Small phantoms of 60,000 to 130,000 voxels, so that ten patients per region can be registered."""


@dataclass(frozen=True)
class Row:
    """A row of the tables: a method, its options, and whether it uses the demo's preset."""

    method: str
    options: Mapping[str, Any] = field(default_factory=dict)
    demo: bool = False


def _penalised(method: str, name: str, weight: float) -> Row:
    return Row(method, {"penalties": [{"name": name, "weight": weight}]})


ROWS: Mapping[str, Row] = {
    REFERENCE: Row("elastix_mi"),
    TUNED: Row("elastix_mi", demo=True),
    "mi": Row("mi"),
    "lncc": Row("lncc"),
    LONG: Row("lncc", {"iterations": [120, 120, 80]}),
    "mind": Row("mind"),
    "ncc": Row("ncc"),
    "mi + diffusion 1": _penalised("mi", "diffusion", 1.0),
    "mi + linear_elasticity 2": _penalised("mi", "linear_elasticity", 2.0),
    "mi + total_variation 1": _penalised("mi", "total_variation", 1.0),
    "mi + curvature 3000": _penalised("mi", "curvature", 3000.0),
}
"""The compared methods. A name alone has the method's defaults (bending). All use the preset of
their region for real scans (SynthRAD2025's), except ``TUNED``, which uses the demo's preset: its
bending weight, grid and windows were tuned on digital patients. If elastix fails with it, it is run
again with a third of the bending weight."""


@dataclass(frozen=True, eq=False)
class Patient:
    """A pair with its truth on the working grid.

    ``preset`` is the demo's; ``stock_preset`` is the one for real scans, SynthRAD2025's.
    """

    pair: ScanPair
    grid: Grid
    preset: Preset
    stock_preset: Preset
    truth: Displacement
    source: Volume
    body: Volume

    @property
    def inside(self) -> NDArray[np.bool_]:
        """The body, (Z, Y, X)."""
        return np.asarray(self.body.array) > 0

    def error_mm(self, transform: sitk.Transform) -> float:
        """Mean inside the body [mm]."""
        return mean_error_mm(displacement_of(transform, self.grid), self.truth, self.inside)


def patient(region: str, source: str, seed: int, voxel_mm: float | None = None) -> Patient:
    """Draw one; the same seed gives both sources the same CT."""
    size = voxel_mm or VOXEL_MM[region]
    protocol = replace(
        SMALL,
        voxels_mm=dict.fromkeys(("ct", "mr", "cbct"), (size, size, size)),
        anatomy_mm=size / 2,
        deformation_mm=(4.0, 8.0),
        setup_turn_deg=1.2,
    )
    made = make_patient(
        region, protocol, lambda *names: generator(seed, "registration_phantom", region, *names)
    )
    scan = made.sources[source]
    bodies = [body_mask(volume, BodyParams(), region) for volume in (scan.scan, made.ct)]
    pair = ScanPair(scan.scan, made.ct, bodies[0], bodies[1])
    grid = working_grid(bodies[0], (size, size, size), 15.0)
    return Patient(
        pair=pair,
        grid=grid,
        preset=preset_called(usual_preset(source, region, demo=True)),
        stock_preset=preset_called(usual_preset(source, region)),
        truth=displacement_on(scan.displacement, grid),
        source=resample(scan.scan, grid, outside=float(scan.scan.array.min())),
        body=resample(bodies[0], grid, outside=0, nearest=True),
    )


def piece(
    region: str, source: str, seed: int, labels: Sequence[str], before: Mapping[str, Any]
) -> dict[str, Any]:
    """The named rows on one patient: error, time and the gate's measures.

    ``before`` is the stored piece, or empty; its rigid step is reused.
    """
    case = patient(region, source, seed)
    kept = dict(before) or _standing(case, seed)
    if "failure" in kept:
        return kept
    rigid = _euler(kept["rigid"])
    rows = {label: _row(case, ROWS[label], rigid, seed) for label in labels}
    return kept | {"methods": kept["methods"] | rows}


def _standing(case: Patient, seed: int) -> dict[str, Any]:
    """The start of all rows: the rigid step, its competing poses and its measures."""
    nothing = METHODS.build("mi", {"factors": [8], "iterations": [1]})  # only the rigid step counts
    steps = align(
        case.pair, case.grid, case.stock_preset, nothing, seed=seed, tell=lambda step: None
    )
    if steps.rigid is None:
        return {"failure": steps.failures["rigid"]}
    still, inside = np.zeros_like(case.truth.vectors), case.inside
    return {
        "rigid": _numbers(steps.rigid),
        "start_mm": mean_error_mm(Displacement(still, case.grid), case.truth, inside),
        "rigid_mm": case.error_mm(steps.rigid),
        "best_rigid_mm": mean_error_mm(rigid_part(case.truth, inside), case.truth, inside),
        "competing_poses": asdict(
            find_competing_poses(case.pair, steps.rigid, starts=5, near_mm=15.0, seed=seed)
        ),
        "base": {
            name: asdict(measured_of(case, transform, None))
            for name, transform in (("identity", sitk.Euler3DTransform()), ("rigid", steps.rigid))
        },
        "methods": {},
    }


def _row(case: Patient, row: Row, rigid: sitk.Euler3DTransform, seed: int) -> dict[str, Any]:
    presets = (case.preset, _softer(case.preset)) if row.demo else (case.stock_preset,)
    begun, begun_cpu = time.perf_counter(), time.process_time()
    fault = None
    for preset in presets:
        job = Job.of(case.pair, case.grid, preset, seed=seed, threads=1)
        try:
            found = METHODS.build(row.method, row.options).deformable(job, rigid)
            break
        except DataError as error:
            fault = error
    else:  # the rigid step remains
        return {"failure": str(fault), "error_mm": case.error_mm(rigid)}
    return {
        "error_mm": case.error_mm(found),
        "seconds": time.perf_counter() - begun,
        "cpu_seconds": time.process_time() - begun_cpu,
        "measures": asdict(measured_of(case, found, displacement_of(rigid, case.grid))),
    }


def _softer(preset: Preset) -> Preset:
    """At 6 mm, elastix diverges in most abdomens with the demo's weight, which suits 4 mm."""
    spline = preset.bspline
    return replace(preset, bspline=replace(spline, bending_weight=spline.bending_weight / 3))


def _numbers(rigid: sitk.Euler3DTransform) -> dict[str, Any]:
    return {
        "zyx": rigid.GetComputeZYX(),
        "centre": rigid.GetCenter(),
        "parameters": rigid.GetParameters(),
    }


def _euler(numbers: Mapping[str, Any]) -> sitk.Euler3DTransform:
    rigid = sitk.Euler3DTransform()
    rigid.SetComputeZYX(numbers["zyx"])
    rigid.SetCenter(numbers["centre"])
    rigid.SetParameters(numbers["parameters"])
    return rigid


def measured_of(
    case: Patient, transform: sitk.Transform, rigid: Displacement | None
) -> StepMeasures:
    """The gate's measures of one step."""
    moved = measures.move(case.pair, case.grid, transform)
    return measures.measure(case.source, case.body, moved, rigid)


def run(seeds: int, minutes: float | None, labels: Sequence[str]) -> None:
    """Make the pieces and rows that are missing, one after another."""
    ends = None if minutes is None else time.monotonic() + 60 * minutes
    todo = [entry for entry in pieces(seeds) if _missing(*entry, labels)]
    for number, (seed, region, source) in enumerate(todo):
        if ends is not None and time.monotonic() > ends:
            return
        begun = time.monotonic()
        lacking = _missing(seed, region, source, labels)
        made = piece(region, source, seed, lacking, load(seed, region, source))
        if "methods" in made:  # another run may have added rows meanwhile
            made["methods"] = load(seed, region, source).get("methods", {}) | made["methods"]
        write_whole(file_of(seed, region, source), canonical_json(made))
        spent = time.monotonic() - begun
        left = spent * (len(todo) - number - 1) / 60
        sys.stderr.write(f"{region} {source} seed {seed}: {spent:.0f} s, {left:.0f} min left\n")


def _missing(seed: int, region: str, source: str, methods: Sequence[str]) -> list[str]:
    there = load(seed, region, source)
    if "failure" in there:
        return []
    return [label for label in methods if label not in there.get("methods", {})]


def measure(seeds: int = SEEDS) -> str:
    """Make what is missing and write the tables."""
    minutes = os.environ.get(MINUTES)
    run(seeds, float(minutes) if minutes else None, list(ROWS))
    return page(seeds, list(ROWS))


def main() -> int:
    """Make pieces for the given minutes, then print the tables of all pieces."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=None, help="stop after this long")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--rows", nargs="*", default=list(ROWS), choices=list(ROWS))
    options = parser.parse_args()
    run(options.seeds, options.minutes, options.rows)
    sys.stdout.write(page(options.seeds, options.rows) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
