"""Registration by size: cost per voxel, memory up to 512 x 512 x 200, and a cohort on a cluster.

    python -m benchmarks registration_scale

One digital patient is resampled to ever finer grids. Each size runs in a process of its own, whose
peak memory the operating system tells. One thread each. What a process told is kept in
``runs/registration_scale``: a run that is stopped goes on. Delete it after a change of code.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data.files import write_whole

Shape = tuple[int, int, int]

SHAPES: tuple[Shape, ...] = ((64, 64, 64), (96, 128, 128), (100, 256, 256), (200, 512, 512))
"""(Z, Y, X), the last a large hospital CT."""

FOLDER = Path("runs/registration_scale")
LIMIT_GIB = 8.0
PLOT = Path("docs/benchmarks/registration_scale.png")
OPTIONS: dict[str, Any] = {"factors": [4, 2], "iterations": [12, 6]}
"""Of ``mind``: the same levels at every size, few steps; a registration takes some ten times as
many, and what a voxel costs is the same."""

CAPS_GB = (0.05, 0.3, 1.0)
CAPPED: Shape = (96, 128, 128)
CASES, CASE_VOXEL_MM = 4, 8.0


@dataclass(frozen=True)
class Cost:
    """What a child process measured of itself."""

    cpu_s: float
    peak_gib: float
    before_gib: float
    levels: int = 0
    verdict: str = ""


def main(what: str, *numbers: str) -> None:
    """A child: prints one :class:`Cost` as JSON."""
    import torch

    torch.set_num_threads(1)
    work = {"engine": _engine, "register": _register, "capped": _capped}[what]
    sys.stdout.write(json.dumps(asdict(work(*numbers))) + "\n")


def _pair(shape: Shape) -> Any:
    """The digital patient on that many voxels."""
    from benchmarks.registration_phantom import patient
    from data.itk import resample
    from data.volume import Grid
    from tasks.registration.scan_pair import ScanPair

    small = patient("thorax", "mr", 0).pair
    sides = small.fixed.grid.extent_mm
    spacing = tuple(side / count for side, count in zip(sides, shape, strict=True))
    grid = Grid(shape, (spacing[0], spacing[1], spacing[2]), small.fixed.grid.origin_mm)
    return ScanPair(
        resample(small.fixed, grid, outside=0.0),
        resample(small.moving, grid, outside=-1024.0),
        resample(small.fixed_body, grid, outside=0, nearest=True),
        resample(small.moving_body, grid, outside=0, nearest=True),
    )


def _engine(*numbers: str) -> Cost:
    """The torch engine alone: all levels of ``OPTIONS``."""
    import SimpleITK as sitk

    from tasks.registration.job import Job
    from tasks.registration.methods import METHODS
    from tasks.registration.presets import preset_called

    method, still = METHODS.build("mind", OPTIONS), sitk.Euler3DTransform()
    small = _pair((16, 16, 16))
    # Imports, and whatever torch does the first time, are not a voxel's cost.
    method.deformable(
        Job.of(small, small.fixed.grid, preset_called("mr_TH"), seed=0, threads=1), still
    )
    pair = _pair(_shape(numbers))
    job = Job.of(pair, pair.fixed.grid, preset_called("mr_TH"), seed=0, threads=1)
    before, begun = _peak_gib(), time.process_time()
    method.deformable(job, still)
    return Cost(time.process_time() - begun, _peak_gib(), before, len(OPTIONS["factors"]))


def _register(*numbers: str) -> Cost:
    """Rigid step, engine and gate: all of ``synthct register`` but its files."""
    from tasks.registration.gate import GateParams
    from tasks.registration.methods import METHODS
    from tasks.registration.presets import preset_called
    from tasks.registration.register import register

    pair = _pair(_shape(numbers))
    before, begun = _peak_gib(), time.process_time()
    done = register(
        pair,
        pair.fixed.grid,
        preset_called("mr_TH"),
        GateParams(search_globally=False),
        METHODS.build("mind", OPTIONS),
        seed=0,
        tell=lambda step: None,
    )
    spent = time.process_time() - begun
    return Cost(
        spent, _peak_gib(), before, verdict=f"{done.judgement.step}: {done.judgement.verdict}"
    )


def _capped(cap_gb: str, *numbers: str) -> Cost:
    """The engine's levels under a cap on memory, what its inputs take not counted."""
    from data.itk import resample
    from tasks.registration.torch_engine import deform as engine
    from tasks.registration.torch_engine.settings import Settings

    pair = _pair(_shape(numbers))
    two = engine.Pair(
        pair.fixed,
        resample(pair.moving, pair.fixed.grid, outside=-1024.0),
        np.asarray(pair.fixed_body.array),
        np.asarray(pair.moving_body.array),
    )
    settings = Settings(factors=(4.0, 2.0, 1.0), iterations=(2, 2, 2), max_memory_gb=float(cap_gb))
    before, begun = _peak_gib(), time.process_time()
    done = engine.deform(two, settings)
    return Cost(time.process_time() - begun, _peak_gib(), before, len(done.courses))


def _peak_gib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def _shape(numbers: tuple[str, ...]) -> Shape:
    z, y, x = (int(number) for number in numbers)
    return z, y, x


def _child(what: str, *numbers: float) -> Cost | None:
    """A piece that was kept, or a new one; nothing where the time is up."""
    words = [what, *map(str, numbers)]
    kept = FOLDER / f"{'_'.join(words)}.json"
    if not kept.is_file():
        if _time_is_up():
            return None
        one = {**os.environ, "OMP_NUM_THREADS": "1"}
        line = [sys.executable, "-m", "benchmarks.registration_scale", *words]
        told = subprocess.run(line, check=True, capture_output=True, text=True, env=one).stdout
        write_whole(kept, told.splitlines()[-1])
    return Cost(**json.loads(kept.read_text()))


BEGUN = time.monotonic()


def _time_is_up() -> bool:
    """``SYNTHCT_BENCH_MINUTES`` bounds a run: no piece is begun after so long."""
    minutes = os.environ.get("SYNTHCT_BENCH_MINUTES")
    return minutes is not None and time.monotonic() - BEGUN > 60 * float(minutes)


def small_case(seed: int) -> str:
    """One case of the cohort: the whole of ``register`` on a small patient; its verdict."""
    import torch

    from benchmarks.registration_phantom import patient
    from tasks.registration.gate import GateParams
    from tasks.registration.methods import METHODS
    from tasks.registration.register import register

    torch.set_num_threads(1)
    case = patient("thorax", "mr", seed, CASE_VOXEL_MM)
    done = register(
        case.pair,
        case.grid,
        case.preset,
        GateParams(search_globally=False),
        METHODS.build("mi", {"iterations": [20, 20, 10]}),
        seed=seed,
        tell=lambda step: None,
    )
    return done.judgement.verdict


def cohort_s(workers: int) -> float:
    """Wall seconds of ``CASES`` cases on a cluster of that many one-thread workers, warm."""
    from distributed import Client, LocalCluster

    from tasks.fanout import OnDask

    with (
        LocalCluster(
            n_workers=workers, threads_per_worker=1, host="127.0.0.1", dashboard_address=None
        ) as cluster,
        Client(cluster) as client,
    ):
        client.run(small_case, 0)  # imports, and the first case of each worker
        begun = time.perf_counter()
        run = OnDask(cluster.scheduler_address)
        for _, outcome in run(small_case, range(1, 1 + CASES), label=str):
            outcome.result()
        return time.perf_counter() - begun


def measure() -> str:
    """Tables by size, by cap and by workers."""
    sizes = [(shape, cost) for shape in SHAPES if (cost := _child("engine", *shape))]
    capped = [(cap, cost) for cap in CAPS_GB if (cost := _child("capped", cap, *CAPPED))]
    whole = _child("register", *SHAPES[-1])
    seconds = None if _time_is_up() else {workers: cohort_s(workers) for workers in (1, 2)}
    if sizes:
        _plot(sizes)
    parts = [
        _sizes(sizes) if sizes else [],
        _whole(whole) if whole else [f"All of a registration of {_named(SHAPES[-1])}: {LATER}"],
        _caps(capped) if capped else [f"`max_memory_gb`: {LATER}"],
        _cohort(seconds) if seconds else [f"A cohort over one and two workers: {LATER}"],
    ]
    return "\n".join(line for part in parts for line in [*part, ""])


LATER = "not measured yet (the run was bounded)."


def _voxels(shape: Shape) -> int:
    return int(np.prod(shape))


def _named(shape: Shape) -> str:
    return f"{shape[2]} x {shape[1]} x {shape[0]}"


def _sizes(costs: list[tuple[Shape, Cost]]) -> list[str]:
    each = [1e6 * cost.cpu_s / _voxels(shape) for shape, cost in costs]
    rows = [
        f"| {_named(shape)} | {_voxels(shape) / 1e6:.2f} | {cost.cpu_s:.1f} | {us:.2f} | "
        f"{us / each[-1]:.2f} | {cost.peak_gib:.1f} |"
        for (shape, cost), us in zip(costs, each, strict=True)
    ]
    return [
        f"The torch engine (`mind`, levels {OPTIONS['factors']}, {OPTIONS['iterations']} steps), "
        "one thread; a digital thorax resampled to each size. Peak memory of the whole process.",
        "",
        "| voxels | million | CPU s | CPU us a voxel | relative to the last | peak GiB |",
        "|---|---:|---:|---:|---:|---:|",
        *rows,
        "",
        f"![CPU time and memory against voxels]({PLOT.name})",
    ]


def _whole(cost: Cost) -> list[str]:
    held = "held" if cost.peak_gib <= LIMIT_GIB else "NOT held"
    return [
        f"All of a registration of {_named(SHAPES[-1])} (rigid step, engine, gate): "
        f"{cost.cpu_s:.0f} CPU s, peak {cost.peak_gib:.1f} GiB ({cost.before_gib:.1f} before it "
        f"began: two scans and masks, imports). The limit of {LIMIT_GIB:g} GiB: {held}.",
    ]


def _caps(capped: list[tuple[float, Cost]]) -> list[str]:
    return [
        f"`max_memory_gb` against the growth of the process, {_named(CAPPED)}, `mind`:",
        "",
        "| cap GB | levels run | grew by GB |",
        "|---:|---:|---:|",
        *(
            f"| {cap:g} | {cost.levels} of 3 | {(cost.peak_gib - cost.before_gib) * 1.0737:.2f} |"
            for cap, cost in capped
        ),
    ]


def _cohort(seconds: dict[int, float]) -> list[str]:
    return [
        f"{CASES} small patients over a local Dask cluster of one-thread workers: "
        f"{seconds[1]:.0f} s with one, {seconds[2]:.0f} s with two: "
        f"{seconds[1] / seconds[2]:.2f} times as fast (load of the machine at the end: "
        f"{os.getloadavg()[0]:.1f} on {os.cpu_count()} cores).",
    ]


def _plot(costs: list[tuple[Shape, Cost]]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    voxels = [_voxels(shape) / 1e6 for shape, _ in costs]
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(8.0, 3.0), layout="constrained")
    each = [cost.cpu_s / count for (_, cost), count in zip(costs, voxels, strict=True)]
    left.semilogx(voxels, each, "o-", color="#1f5a7a")
    left.set(ylim=(0, 1.3 * max(each)), ylabel="CPU us a voxel", title="Cost of a voxel")
    right.loglog(voxels, [cost.peak_gib for _, cost in costs], "o-", color="#1f5a7a")
    right.axhline(LIMIT_GIB, color="#b03a2e", lw=1, ls="--")
    right.set(ylabel="peak GiB", title="Memory of the process")
    for axes in (left, right):
        axes.set_xlabel("million voxels")
        axes.grid(alpha=0.3)
    figure.savefig(PLOT, dpi=130, metadata={"Software": None})
    pyplot.close(figure)


if __name__ == "__main__":
    main(*sys.argv[1:])
