"""Registration by size: cost per voxel, memory up to 512 x 512 x 200, and a cohort on a cluster.

    python -m benchmarks registration_scale

One digital patient is resampled to finer and finer grids. Each size runs in a process of its own
(:mod:`benchmarks._registration_scale_pieces`) on one thread. Results are stored in
``runs/registration_scale``: a run that was stopped continues. Delete it after a change of code.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from benchmarks._registration_scale_pieces import OPTIONS, SHORT, Cost, Shape
from synthct.data.files import write_whole

SHAPES: tuple[Shape, ...] = ((64, 64, 64), (50, 128, 128), (100, 256, 256), (200, 512, 512))
"""(Z, Y, X), the last a large hospital CT. The proportions of the voxels are such that the finest
level of the same factors has a quarter of them at every size; with 96 x 128 x 128, an eighth."""

FOLDER = Path("runs/registration_scale")
LIMIT_GB = 8.0
PLOT = Path("docs/benchmarks/registration_scale.png")

CAPS_GB = (0.1, 0.3, 1.0)
CAPPED: Shape = (96, 128, 128)
CASES, CASE_VOXEL_MM = 4, 8.0

QUIET = 0.75
"""Load per core below which the machine counts as idle."""


def _child(what: str, *numbers: float) -> Cost | None:
    """A stored piece, or a new one; None after the time limit."""
    words = [what, *map(str, numbers)]
    kept = FOLDER / f"{'_'.join(words)}.json"
    if not kept.is_file():
        if _time_is_up():
            return None
        one = {**os.environ, "OMP_NUM_THREADS": "1"}
        line = [sys.executable, "-m", "benchmarks._registration_scale_pieces", *words]
        output = subprocess.run(line, check=True, capture_output=True, text=True, env=one).stdout
        write_whole(kept, output.splitlines()[-1])
    return Cost(**json.loads(kept.read_text()))


BEGUN = time.monotonic()


def _time_is_up() -> bool:
    """``SYNTHCT_BENCH_MINUTES`` limits a run: no piece is started after that time."""
    minutes = os.environ.get("SYNTHCT_BENCH_MINUTES")
    return minutes is not None and time.monotonic() - BEGUN > 60 * float(minutes)


def small_case(seed: int) -> str:
    """One case of the cohort: the whole of ``register`` on a small patient; its verdict."""
    import torch

    from benchmarks.registration_phantom import patient
    from synthct.tasks.registration.gate.params import GateParams
    from synthct.tasks.registration.methods import METHODS
    from synthct.tasks.registration.register import register

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


def cohort(workers: int) -> dict[str, float] | None:
    """Wall and processor seconds of ``CASES`` cases on warm workers of one thread; stored."""
    kept = FOLDER / f"cohort_{workers}.json"
    if not kept.is_file():
        if _time_is_up():
            return None
        write_whole(kept, json.dumps(_cohort_of(workers)))
    found: dict[str, float] = json.loads(kept.read_text())
    return found


def _cohort_of(workers: int) -> dict[str, float]:
    from synthct.flows.clusters.opening import open_cluster
    from synthct.tasks.pipeline.dask_client import connect
    from synthct.tasks.pipeline.fanout import OnDask

    with (
        open_cluster("local", workers=workers, root=Path.cwd(), variables={}) as cluster,
        connect(str(cluster.scheduler)) as client,
    ):
        client.wait_for_workers(workers)
        client.run(small_case, 0)  # imports, and the first case of each worker
        begun, spent = time.perf_counter(), sum(client.run(time.process_time).values())
        run = OnDask(str(cluster.scheduler))
        for _, outcome in run(small_case, range(1, 1 + CASES), label=str):
            outcome.result()
        return {
            "wall_s": time.perf_counter() - begun,
            "cpu_s": sum(client.run(time.process_time).values()) - spent,
            "load": os.getloadavg()[0],
        }


def measure() -> str:
    """Tables by size, by cap and by workers."""
    sizes = [(shape, cost) for shape in SHAPES if (cost := _child("engine", *shape))]
    whole = _child("register", *SHAPES[-1])
    capped = [(cap, cost) for cap in CAPS_GB if (cost := _child("capped", cap, *CAPPED))]
    spread = {workers: found for workers in (1, 2) if (found := cohort(workers))}
    if sizes:
        _plot(sizes, whole)
    parts = [
        _machine([cost.load for _, cost in sizes + capped] + [s["load"] for s in spread.values()]),
        _sizes(sizes) if sizes else [f"The engine by size: {LATER}"],
        _whole(whole) if whole else [f"A whole registration of {_named(SHAPES[-1])}: {LATER}"],
        _caps(capped) if capped else [f"`max_memory_gb`: {LATER}"],
        _cohort(spread) if len(spread) == 2 else [f"A cohort over one and two workers: {LATER}"],
    ]
    return "\n".join(line for part in parts for line in [*part, ""])


LATER = "not measured (time limit of the run)."


def _machine(loads: list[float]) -> list[str]:
    cores = os.cpu_count() or 1
    if max(loads, default=0.0) <= QUIET * cores:
        return []
    return [
        f"The machine was not idle: load {min(loads):.0f} to {max(loads):.0f} on {cores} cores. "
        "Processor seconds are affected least (shared caches still make them longer), memory not "
        "at all.",
    ]


def _voxels(shape: Shape) -> int:
    return int(np.prod(shape))


def _named(shape: Shape) -> str:
    return f"{shape[2]} x {shape[1]} x {shape[0]}"


def _sizes(costs: list[tuple[Shape, Cost]]) -> list[str]:
    each = [1e6 * cost.cpu_s / _voxels(shape) for shape, cost in costs]
    rows = [
        f"| {_named(shape)} | {_voxels(shape) / 1e6:.2f} | {cost.cpu_s:.1f} | {us:.2f} | "
        f"{us / each[0]:.2f} | {cost.peak_gb:.2f} | {cost.before_gb:.2f} |"
        for (shape, cost), us in zip(costs, each, strict=True)
    ]
    return [
        f"The torch engine (`mind`, levels {OPTIONS['factors']}, {OPTIONS['iterations']} steps), "
        "one thread; a digital thorax resampled to each size. The finest level holds a quarter of "
        "the voxels at every size. Peak memory of the process, and its memory before the engine "
        "started.",
        "",
        "| voxels | million | CPU s | CPU us per voxel | relative to the first | peak GB | before "
        "|",
        "|---|---:|---:|---:|---:|---:|---:|",
        *rows,
        "",
        f"![CPU time and memory against voxels]({PLOT.name})",
    ]


def _whole(cost: Cost) -> list[str]:
    fits = "less" if cost.peak_gb <= LIMIT_GB else "MORE"
    steps = ", ".join(f"{name} {peak:.1f}" for name, peak in cost.by_step.items())
    return [
        f"A whole registration of {_named(SHAPES[-1])} (rigid step, engine with "
        f"{SHORT['iterations']} steps, gate): {cost.cpu_s:.0f} CPU s, peak {cost.peak_gb:.1f} GB "
        f"({cost.before_gb:.1f} before it started: two scans and masks, imports). By step [GB]: "
        f"{steps}. That is {fits} than a machine with {LIMIT_GB:g} GB has.",
    ]


def _caps(capped: list[tuple[float, Cost]]) -> list[str]:
    return [
        f"Growth of the process under `max_memory_gb`, {_named(CAPPED)}, `mind`:",
        "",
        "| `max_memory_gb` | levels run | growth [GB] |",
        "|---:|---:|---:|",
        *(
            f"| {cap:g} | {cost.levels} of 3 | {cost.peak_gb - cost.before_gb:.2f} |"
            for cap, cost in capped
        ),
    ]


def _cohort(spread: dict[int, dict[str, float]]) -> list[str]:
    one, two = spread[1], spread[2]
    return [
        f"{CASES} small patients on a local Dask cluster with workers of one thread:",
        "",
        "| workers | wall s | CPU s of all workers | load at the end |",
        "|---:|---:|---:|---:|",
        *(
            f"| {count} | {found['wall_s']:.0f} | {found['cpu_s']:.0f} | {found['load']:.1f} |"
            for count, found in spread.items()
        ),
        "",
        f"Two workers are {one['wall_s'] / two['wall_s']:.2f} times as fast as one and use "
        f"{two['cpu_s'] / one['cpu_s']:.2f} times its processor time.",
    ]


def _plot(costs: list[tuple[Shape, Cost]], whole: Cost | None) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    voxels = [_voxels(shape) / 1e6 for shape, _ in costs]
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(8.0, 3.0), layout="constrained")
    each = [cost.cpu_s / count for (_, cost), count in zip(costs, voxels, strict=True)]
    left.semilogx(voxels, each, "o-", color="#1f5a7a")
    left.set(ylim=(0, 1.3 * max(each)), ylabel="CPU us per voxel", title="Cost per voxel (engine)")
    right.loglog(voxels, [cost.peak_gb for _, cost in costs], "o-", color="#1f5a7a", label="engine")
    if whole:
        last = _voxels(SHAPES[-1]) / 1e6
        right.plot(last, whole.peak_gb, "s", color="#1d2530", label="whole registration")
    right.axhline(LIMIT_GB, color="#b03a2e", lw=1, ls="--", label=f"limit {LIMIT_GB:g} GB")
    right.set(ylabel="peak GB", title="Memory of the process")
    right.legend(frameon=False, fontsize=8)
    ticks = [0.5, 1, 2, 4, LIMIT_GB]
    right.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    sizes = [_voxels(shape) / 1e6 for shape in SHAPES]
    for axes in (left, right):
        axes.set_xticks(sizes, [f"{size:.2g}" for size in sizes])
        axes.minorticks_off()
        axes.set_xlabel("million voxels")
        axes.grid(alpha=0.3)
    figure.savefig(PLOT, dpi=130, metadata={"Software": None})
    pyplot.close(figure)
