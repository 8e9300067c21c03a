"""Registration against a known displacement: digital patients, by method, region and regularizer.

    python -m benchmarks registration_phantom       writes docs/benchmarks/registration_phantom.md
    python -m benchmarks.registration_phantom --minutes 10 --seeds 10

Every patient (seed x region x source) is a piece of its own, kept in ``runs/registration_phantom``:
a run that is stopped goes on where it was, ``--minutes`` bounds one run, and the page says how many
pieces it has. Delete the folder after a change of an engine. All methods start from the same rigid
step (stock elastix), so the table compares the deformable one. ``gated`` is what stands after the
gate, which may throw a deformable step away.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy.stats import spearmanr

from data.faults import DataFault
from data.files import canonical_json, write_whole
from data.itk import displacement_from_itk, displacement_to_itk, resample
from data.phantom.patient import Protocol, make_patient
from data.volume import Displacement, Grid, Volume
from tasks.ingestion.body import body_mask
from tasks.ingestion.params import BodyParams
from tasks.randomness import generator
from tasks.registration import measures
from tasks.registration.align import align
from tasks.registration.bone import BoneMotion
from tasks.registration.gate import GateParams, judge
from tasks.registration.geometry import displacement_of, displacement_on, working_grid
from tasks.registration.inverse import register_back
from tasks.registration.jacobian import DeformationQuality
from tasks.registration.job import Job
from tasks.registration.measures import StepMeasures
from tasks.registration.methods import METHODS
from tasks.registration.preset import Preset
from tasks.registration.presets import preset_called, usual_preset
from tasks.registration.rivals import Rivals, find_rivals
from tasks.registration.scan_pair import ScanPair
from tasks.registration.true_error import mean_error_mm, rigid_part

FOLDER = Path("runs/registration_phantom")
REGIONS = ("thorax", "abdomen", "head-neck")
SOURCES = ("mr", "cbct")
SEEDS = 10
MINUTES = "SYNTHCT_BENCH_MINUTES"
"""Set it to bound a run of ``python -m benchmarks``; without it all pieces are made."""

VOXEL_MM = {"thorax": 6.0, "abdomen": 6.0, "head-neck": 4.5}
"""Small phantoms: 60,000 to 130,000 voxels, so that ten patients a region are to be had."""


def _penalty(name: str, weight: float) -> dict[str, Any]:
    return {"penalties": [{"name": name, "weight": weight}]}


METHOD_OPTIONS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "elastix_mi": ("elastix_mi", {}),
    "mi": ("mi", {}),
    "lncc": ("lncc", {}),
    "mind": ("mind", {}),
    "ncc": ("ncc", {}),
    "mi + diffusion 5": ("mi", _penalty("diffusion", 5.0)),
    "mi + linear_elasticity 5": ("mi", _penalty("linear_elasticity", 5.0)),
    "mi + total_variation 1": ("mi", _penalty("total_variation", 1.0)),
    "mi + curvature 3000": ("mi", _penalty("curvature", 3000.0)),
}
"""Row of the table to method and options; a bare name has the method's own defaults (bending)."""

BY_SOURCE = {"mr": "mi", "cbct": "lncc"}
"""The method that the docs advise, by source."""

ADVISED = "mi on MR, lncc on CBCT"
"""Its row in the summary."""


@dataclass(frozen=True, eq=False)
class Patient:
    """A pair with its truth on the working grid."""

    pair: ScanPair
    grid: Grid
    preset: Preset
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
    protocol = Protocol(
        voxels_mm=dict.fromkeys(("ct", "mr", "cbct"), (size, size, size)),
        anatomy_mm=size / 2,
        deformation_mm=(4.0, 8.0),
        setup_shift_mm=3.0,
        setup_turn_deg=1.2,
        ct_noise_hu=12.0,
        mr_noise=0.025,
        mr_shading=0.15,
        views=40,
        scatter=0.09,
        photons_per_mm2=2.0e4,
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
        truth=displacement_on(scan.displacement, grid),
        source=resample(scan.scan, grid, outside=float(scan.scan.array.min())),
        body=resample(bodies[0], grid, outside=0, nearest=True),
    )


def piece(
    region: str, source: str, seed: int, methods: Sequence[str], *, back: bool = False
) -> dict[str, Any]:
    """All methods on one patient: error, time and the gate's figures; ``back``: also the way home
    of elastix, a registration more.
    """
    case = patient(region, source, seed)
    still = np.zeros_like(case.truth.vectors)
    inside = case.inside
    nothing = METHODS.build("mi", {"factors": [8], "iterations": [1]})  # the rigid step is wanted
    steps = align(case.pair, case.grid, case.preset, nothing, seed=seed, tell=lambda step: None)
    if steps.rigid is None:
        return {"failure": steps.failures["rigid"]}
    job = Job.of(case.pair, case.grid, case.preset, seed=seed, threads=1)
    rivals = find_rivals(case.pair, steps.rigid, starts=5, near_mm=15.0, seed=seed)
    measured = {
        name: measured_of(case, transform, None)
        for name, transform in (("identity", sitk.Euler3DTransform()), ("rigid", steps.rigid))
    }
    rows = {}
    for label in methods:
        name, options = METHOD_OPTIONS[label]
        begun = time.perf_counter()
        try:
            found = METHODS.build(name, options).deformable(job, steps.rigid)
        except DataFault as fault:  # what stands then is the rigid step
            rows[label] = {"failure": str(fault), "error_mm": case.error_mm(steps.rigid)}
            continue
        seconds = time.perf_counter() - begun
        now = measured_of(case, found, displacement_of(steps.rigid, case.grid))
        rows[label] = {
            "error_mm": case.error_mm(found),
            "seconds": seconds,
            "measures": asdict(now),
        }
        if back and label == "elastix_mi":
            home = register_back(
                case.pair, case.grid, found, case.preset, METHODS.build(name, options), seed=seed,
                threads=1,
            )  # fmt: skip
            rows[label] |= {
                "back_mm": None if home is None else home.p95_mm,
                "inversion_mm": inversion_error_mm(displacement_of(found, case.grid), inside),
            }
    return {
        "start_mm": mean_error_mm(_field(still, case), case.truth, inside),
        "rigid_mm": case.error_mm(steps.rigid),
        "best_rigid_mm": mean_error_mm(rigid_part(case.truth, inside), case.truth, inside),
        "rivals": asdict(rivals),
        "base": {name: asdict(values) for name, values in measured.items()},
        "methods": rows,
    }


def measured_of(
    case: Patient, transform: sitk.Transform, rigid: Displacement | None
) -> StepMeasures:
    """The gate's figures of one step."""
    moved = measures.move(case.pair, case.grid, transform)
    return measures.measure(case.source, case.body, moved, rigid)


def inversion_error_mm(displacement: Displacement, inside: NDArray[np.bool_]) -> float:
    """95th percentile of |u(x) + v(x + u(x))| where v is u inverted by ITK's iterations [mm]."""
    image = displacement_to_itk(displacement)
    inverter = sitk.InvertDisplacementFieldImageFilter()
    inverter.SetMaximumNumberOfIterations(20)
    back = inverter.Execute(image)
    carried = sitk.Resample(
        back, back, sitk.DisplacementFieldTransform(sitk.Image(image)), sitk.sitkLinear, 0.0
    )
    rest = displacement.vectors + displacement_from_itk(carried).vectors
    return float(np.percentile(np.linalg.norm(rest[:, inside], axis=0), 95))


def _field(vectors: NDArray[np.float32], case: Patient) -> Displacement:
    return Displacement(vectors, case.grid)


def pieces(seeds: int) -> Iterator[tuple[int, str, str]]:
    """Seeds outermost: what there is after a stop is balanced over regions and sources."""
    yield from product(range(seeds), REGIONS, SOURCES)


def run(seeds: int, minutes: float | None, methods: Sequence[str], *, back: bool = False) -> None:
    """Make the pieces and rows that are missing, one after another."""
    ends = None if minutes is None else time.monotonic() + 60 * minutes
    todo = [entry for entry in pieces(seeds) if _missing(*entry, methods)]
    for number, (seed, region, source) in enumerate(todo):
        if ends is not None and time.monotonic() > ends:
            return
        begun = time.monotonic()
        lacking = _missing(seed, region, source, methods)
        made = piece(region, source, seed, lacking, back=back)
        before = _load(seed, region, source)
        if "methods" in made and "methods" in before:
            made["methods"] = before["methods"] | made["methods"]
        write_whole(_file(seed, region, source), canonical_json(made))
        spent = time.monotonic() - begun
        left = spent * (len(todo) - number - 1) / 60
        sys.stderr.write(f"{region} {source} seed {seed}: {spent:.0f} s, {left:.0f} min left\n")


def _file(seed: int, region: str, source: str) -> Path:
    return FOLDER / f"{region}_{source}_{seed:02d}.json"


def _load(seed: int, region: str, source: str) -> dict[str, Any]:
    path = _file(seed, region, source)
    return json.loads(path.read_text()) if path.is_file() else {}


def judged(value: dict[str, Any]) -> dict[str, Any]:
    """The piece with the verdict of today's gate on every row, and the error of what stands."""
    errors = {"identity": value["start_mm"], "rigid": value["rigid_mm"]}
    for row in value["methods"].values():
        steps = dict(value["base"])
        if "measures" in row:
            steps["deformable"] = row["measures"]
        found = judge(
            {name: _measures(figures) for name, figures in steps.items()},
            {"deformable": row["failure"]} if "failure" in row else {},
            GateParams(),
            Rivals(**value["rivals"]),
        )
        row["verdict"] = found.verdict
        row["gated_mm"] = errors.get(found.step, row["error_mm"])
    return value


def _measures(figures: Mapping[str, Any]) -> StepMeasures:
    parts = {
        "deformation": DeformationQuality(**figures["deformation"]),
        "bone": BoneMotion(**figures["bone"]),
    }
    return StepMeasures(**{**figures, **parts})


def _missing(seed: int, region: str, source: str, methods: Sequence[str]) -> list[str]:
    there = _load(seed, region, source)
    if "failure" in there:
        return []
    return [label for label in methods if label not in there.get("methods", {})]


def page(seeds: int, methods: Sequence[str]) -> str:
    """The tables as markdown, of the pieces that there are."""
    found = {entry: _load(*entry) for entry in pieces(seeds)}
    made = {entry: judged(value) for entry, value in found.items() if "methods" in value}
    failed = sum("failure" in value for value in found.values())
    parts = [
        f"{len(made)} of {len(found)} patients ({seeds} seeds x {len(REGIONS)} regions x "
        f"{len(SOURCES)} sources)" + (f", {failed} without a rigid step" if failed else "") + ". "
        "Mean error inside the body [mm], mean over the patients, after the deformable step and "
        "(gated) of what stands after the gate. Voxels of 6 mm (head-neck 4.5 mm), one thread. "
        "*start*: no motion; *best rigid*: what the best rigid motion leaves."
    ]
    parts += [_table(made, source, methods) for source in SOURCES]
    parts += [_summary(made, methods), _witnesses(made)]
    return "\n\n".join(part for part in parts if part)


Made = Mapping[tuple[int, str, str], Mapping[str, Any]]


def _table(made: Made, source: str, methods: Sequence[str]) -> str:
    head = f"| {source} | " + " | ".join(f"{region} | gated" for region in REGIONS) + " |"
    lines = [head, "|---|" + "---:|" * (2 * len(REGIONS))]
    for name, key in (
        ("start", "start_mm"),
        ("best rigid", "best_rigid_mm"),
        ("our rigid", "rigid_mm"),
    ):
        cells = [_mean(value[key] for value in _of(made, source, region)) for region in REGIONS]
        lines.append(f"| *{name}* | " + " | ".join(f"{cell} |" for cell in cells) + " |")
    measured = {label for value in made.values() for label in value["methods"]}
    for label in (name for name in methods if name in measured):
        cells = []
        for region in REGIONS:
            rows = [v["methods"][label] for v in _of(made, source, region) if label in v["methods"]]
            cells += [_mean(row[key] for row in rows) for key in ("error_mm", "gated_mm")]
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _of(made: Made, source: str, region: str) -> list[Mapping[str, Any]]:
    return [value for (_, where, what), value in made.items() if (where, what) == (region, source)]


def _summary(made: Made, methods: Sequence[str]) -> str:
    """Against elastix, patient by patient; where elastix gave up, the rigid step is its result."""
    lines = [
        "| method | error / elastix_mi | where elastix_mi ended | worse than start "
        "| gated: worse than start | pass / suspect / fail | time / elastix_mi |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    advised = [ADVISED] if set(BY_SOURCE.values()) <= set(methods) else []
    for label in (*methods, *advised):
        both = [
            (value["methods"][name], value["methods"]["elastix_mi"], value["start_mm"])
            for (_, _, source), value in made.items()
            if {name := BY_SOURCE[source] if label == ADVISED else label, "elastix_mi"}
            <= set(value["methods"])
        ]
        if not both:
            continue
        mine, peer = [row for row, _, _ in both], [row for _, row, _ in both]
        ended = [(row, other) for row, other, _ in both if "failure" not in other]
        worse, gated = (
            sum(row[key] > start for row, _, start in both) for key in ("error_mm", "gated_mm")
        )
        verdicts = [row["verdict"] for row in mine]
        counts = " / ".join(str(verdicts.count(word)) for word in ("pass", "suspect", "fail"))
        crashed = sum("failure" in row for row in mine)
        counts += f" ({crashed} gave up)" if crashed else ""
        lines.append(
            f"| {label} | {_ratio(mine, peer, 'error_mm')} "
            f"| {_ratio([r for r, _ in ended], [o for _, o in ended], 'error_mm')} "
            f"| {worse} of {len(both)} | {gated} of {len(both)} | {counts} "
            f"| {_ratio(*_timed(mine, peer), 'seconds')} |"
        )
    return "\n".join(lines)


def _witnesses(made: Made) -> str:
    """Which of the gate's figures knows the true error: rank correlation over all rows."""
    rows = [
        row for value in made.values() for row in value["methods"].values() if "measures" in row
    ]
    if len(rows) < 8:
        return ""
    figures = {
        "1 - edge agreement": lambda row: -row["measures"]["edges"],
        "1 - mutual information": lambda row: -row["measures"]["information"],
        "1 - Dice of the bodies": lambda row: -row["measures"]["dice"],
        "SD of log-Jacobian": lambda row: row["measures"]["deformation"]["sd_log_jacobian"],
        "folding": lambda row: row["measures"]["deformation"]["folding_percent"],
        "strain of bone": lambda row: row["measures"]["bone"]["strain"],
    }
    lines = ["| figure | rank correlation with the true error | rows |", "|---|---:|---:|"]
    for name, figure in figures.items():
        lines.append(_correlation(name, [(figure(row), row["error_mm"]) for row in rows]))
    own = [r for r in rows if r.get("back_mm") is not None]
    for name, key in (
        ("register back (elastix_mi)", "back_mm"),
        ("invert the field (elastix_mi)", "inversion_mm"),
    ):
        if own:  # made on demand: ``--back``
            lines.append(_correlation(name, [(row[key], row["error_mm"]) for row in own]))
    return "\n".join(lines)


def _correlation(name: str, pairs: Sequence[tuple[float, float]]) -> str:
    if len(pairs) < 8:
        return f"| {name} | too few | {len(pairs)} |"
    first, second = np.array(pairs).T
    value = "none (constant)" if np.ptp(first) == 0 else f"{spearmanr(first, second).statistic:.2f}"
    return f"| {name} | {value} | {len(pairs)} |"


Rows = Sequence[Mapping[str, Any]]


def _timed(mine: Rows, peer: Rows) -> tuple[Rows, Rows]:
    """The patients on which neither gave up."""
    kept = [pair for pair in zip(mine, peer, strict=True) if all("seconds" in row for row in pair)]
    return [first for first, _ in kept], [second for _, second in kept]


def _ratio(mine: Sequence[Mapping[str, Any]], peer: Sequence[Mapping[str, Any]], key: str) -> str:
    if not mine:
        return "-"
    return f"{np.mean([r[key] for r in mine]) / np.mean([r[key] for r in peer]):.2f}"


def _mean(values: Iterator[float]) -> str:
    listed = list(values)
    return f"{np.mean(listed):.2f}" if listed else "-"


def measure(seeds: int = SEEDS) -> str:
    """Make what is missing and write the tables."""
    minutes = os.environ.get(MINUTES)
    run(seeds, float(minutes) if minutes else None, list(METHOD_OPTIONS))
    return page(seeds, list(METHOD_OPTIONS))


def main() -> int:
    """Pieces for so many minutes, then the tables of what there is."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=None, help="stop after this long")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--methods", nargs="*", default=list(METHOD_OPTIONS))
    parser.add_argument(
        "--back", action="store_true", help="elastix there and back, for the gate's figures"
    )
    options = parser.parse_args()
    run(options.seeds, options.minutes, options.methods, back=options.back)
    sys.stdout.write(page(options.seeds, options.methods) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
