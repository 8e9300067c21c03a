"""Operations: dispatch, runs without work, weak scaling, throughput of a large cluster."""

from __future__ import annotations

import asyncio
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from synthct.flows.clusters.authority import certificates_of_a_run
from synthct.flows.clusters.opening import open_cluster
from synthct.tasks.pipeline.dask_client import connect
from synthct.tasks.pipeline.fanout import OnDask

UNITS = 1000
ROUNDS = 4

WORK_S = 0.2
"""Processor time of a unit in the weak scaling."""

SIMULATED_UNITS, SIMULATED_WORKERS = 10_000, 64
MEAN_S = 0.5
"""Mean sleep of a simulated unit. Real ones take minutes to hours: less work for the scheduler."""


def measure() -> str:
    """The page, with Dask and DVC measured in the same run."""
    root = Path.cwd()
    load = f"{os.getloadavg()[0]:.1f}"
    dispatch = _dispatch(root)
    noop_s, dvc_s = _noop()
    one, two, plain = _scaling(root)
    lines = [
        *_starting(),
        "## Overheads",
        "",
        "| what | measured |",
        "|---|---|",
        f"| dispatch of a unit without work, mean of {UNITS}, 2 workers "
        f"| {dispatch['ours']:.2f} ms |",
        f"| the same with Dask's `map` and `gather` | {dispatch['dask']:.2f} ms |",
        f"| ratio of the two | {dispatch['ours'] / dispatch['dask']:.2f} |",
        f"| certificates of a `local` cluster | {_certificates_s() * 1000:.1f} ms |",
        f"| `synthct run` when nothing is out of date | {noop_s:.1f} s |",
        f"| `dvc status` in the same checkout | {dvc_s:.1f} s |",
        "",
        "## Weak scaling",
        "",
        f"{WORK_S:g} s of processor time per unit, 20 units per worker, `--cluster local`.",
        "",
        "| workers | wall [s] | efficiency |",
        "|---|---|---|",
        f"| 1 | {one:.2f} | 1.00 |",
        f"| 2 | {two:.2f} | {one / two:.2f} |",
        "",
        f"The limit of the machine is the efficiency of two processes without Dask: {plain:.2f}. "
        f"Ours is {one / two / plain:.2f} of it. Minimum of {ROUNDS} alternating rounds.",
        "",
        "## A large cluster, simulated",
        "",
        f"The real scheduler and up to {SIMULATED_WORKERS} real workers of one thread in one "
        "process, each declaring a GPU. Units sleep for 0.25 to 1.75 times the mean. The workers "
        "share the scheduler's core, so the throughput is a lower bound.",
        "",
        "| workers | units | mean unit [s] | wall [s] | ideal [s] | busy share | units/s |",
        "|---|---|---|---|---|---|---|",
    ]
    for workers, units, mean_s in (
        (8, 500, MEAN_S),
        (32, 2000, MEAN_S),
        (SIMULATED_WORKERS, SIMULATED_UNITS, MEAN_S),
        (SIMULATED_WORKERS, 4000, 0.1),
        (SIMULATED_WORKERS, 4000, 0.02),
    ):
        wall = asyncio.run(_simulated(workers, units, mean_s))
        ideal = units * mean_s / workers
        lines.append(
            f"| {workers} | {units} | {mean_s:g} | {wall:.1f} | {ideal:.1f} | {ideal / wall:.2f} "
            f"| {units / wall:.0f} |"
        )
    lines += [
        "",
        f"Load average before the first measurement {load}, after the last "
        f"{os.getloadavg()[0]:.1f}, including this benchmark. Above 2, other programs shared the "
        "cores. GPUs were not measured.",
    ]
    return "\n".join(lines)


def _starting() -> list[str]:
    """Processor time until a command prints something, which shows needless imports."""
    python = _cpu_s([sys.executable, "-c", "pass"])
    rows = {
        "`import synthct`": [sys.executable, "-c", "import synthct"],
        "`synthct --help`": [sys.executable, "-m", "synthct.flows", "--help"],
        "`synthct predict --help`": [sys.executable, "-m", "synthct.flows", "predict", "--help"],
    }
    lines = [
        "## Starting",
        "",
        f"Processor time, median of {ROUNDS * 2 + 1} processes; Python alone takes {python:.2f} s.",
        "",
        "| what | measured | without Python's own start |",
        "|---|---|---|",
    ]
    for name, command in rows.items():
        spent = _cpu_s(command)
        lines.append(f"| {name} | {spent:.2f} s | {spent - python:.2f} s |")
    return [*lines, ""]


def _cpu_s(command: list[str]) -> float:
    """Processor time of a command with its children [s], after a run that fills the caches."""
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd() / "src")}
    spent = []
    for _ in range(ROUNDS * 2 + 2):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return statistics.median(spent[1:])


def _nothing(number: int) -> int:
    return number


def _spin(_: int) -> None:
    end_s = time.process_time() + WORK_S
    while time.process_time() < end_s:
        pass


def _dispatch(root: Path) -> dict[str, float]:
    with open_cluster("local", workers=2, root=root, variables={}) as cluster:
        ours = OnDask(str(cluster.scheduler))
        list(ours(_nothing, range(20), label=str))
        found: dict[str, list[float]] = {"ours": [], "dask": []}
        with connect(str(cluster.scheduler)) as client:
            client.gather(client.map(_nothing, range(20), pure=False))
            for _ in range(3):
                began_s = time.monotonic()
                if sum(1 for _ in ours(_nothing, range(UNITS), label=str)) != UNITS:
                    raise RuntimeError("units were lost")
                found["ours"].append(time.monotonic() - began_s)
                began_s = time.monotonic()
                client.gather(client.map(_nothing, range(UNITS), pure=False))
                found["dask"].append(time.monotonic() - began_s)
    return {name: statistics.median(each) / UNITS * 1000 for name, each in found.items()}


def _certificates_s() -> float:
    """Time to make a run's certificates [s], the import of ``cryptography`` not counted."""
    times = []
    for _ in range(10):
        began_s = time.monotonic()
        with certificates_of_a_run():
            times.append(time.monotonic() - began_s)
    return statistics.median(times)


def _scaling(root: Path) -> tuple[float, float, float]:
    """(wall of 1 worker, of 2, efficiency of two plain processes): minimum of alternating rounds.

    The rounds alternate so that other load on the machine affects all of them alike.
    """
    times: dict[str, list[float]] = {"1": [], "2": [], "plain 1": [], "plain 2": []}
    for _ in range(ROUNDS):
        for workers in (1, 2):
            times[f"{workers}"].append(_weak(root, workers))
            times[f"plain {workers}"].append(_plain(workers))
    best = {name: min(each) for name, each in times.items()}
    return best["1"], best["2"], best["plain 1"] / best["plain 2"]


def _weak(root: Path, workers: int) -> float:
    with open_cluster("local", workers=workers, root=root, variables={}) as cluster:
        fan_out = OnDask(str(cluster.scheduler))
        list(fan_out(_nothing, range(4 * workers), label=str))
        began_s = time.monotonic()
        list(fan_out(_spin, range(20 * workers), label=str))
        return time.monotonic() - began_s


def _plain(count: int) -> float:
    """The same work in independent processes."""
    script = "from benchmarks.operations import _spin\nfor n in range(20): _spin(n)\n"
    began_s = time.monotonic()
    running = [subprocess.Popen([sys.executable, "-c", script]) for _ in range(count)]
    for process in running:
        process.wait()
    return time.monotonic() - began_s


def _noop() -> tuple[float, float]:
    """(`synthct run`, `dvc status`) [s] in a toy repository where nothing is out of date."""
    with tempfile.TemporaryDirectory(prefix="synthct-bench-") as temporary:
        root = _toy(Path(temporary))
        environment = {**os.environ, "PYTHONPATH": str(Path.cwd() / "src")}
        script = (
            "import io, sys\nfrom pathlib import Path\nfrom rich.console import Console\n"
            "from synthct.flows.workspace.project import Project, StageTarget\n"
            "from synthct.flows.run.running import RunOptions, run_project\n"
            "steps = tuple(StageTarget(f's{n}', f's{n}', Path(f's{n}.out')) for n in range(7))\n"
            "built = run_project(Project(Path(sys.argv[1]), 'toy', steps), RunOptions('local'),"
            " Console(file=io.StringIO()))\nsys.exit(bool(built))\n"
        )
        ours = _timed([sys.executable, "-c", script, str(root)], root, environment)
        dvc = _timed([sys.executable, "-m", "dvc", "status"], root, environment)
    return ours, dvc


def _toy(root: Path) -> Path:
    """Seven stages that depend on as many files of code as ours, all up to date."""
    quiet = {**os.environ, "DVC_NO_ANALYTICS": "1"}
    dvc = [sys.executable, "-m", "dvc"]
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    subprocess.run([*dvc, "init", "-q"], cwd=root, check=True, env=quiet)
    for room in ("tasks", "data"):
        shutil.copytree(
            room, root / room, ignore=shutil.ignore_patterns("raw", "artefacts", "__py*")
        )
    code = "".join(f"    - {file.relative_to(root)}\n" for file in sorted(root.rglob("*.py")))
    stages = "".join(
        f"  s{n}:\n    cmd: echo {n} > s{n}.out\n    deps:\n{code}    outs: [s{n}.out]\n"
        for n in range(7)
    )
    (root / "dvc.yaml").write_text(f"stages:\n{stages}")
    subprocess.run([*dvc, "repro", "-q"], cwd=root, check=True, env=quiet)
    return root


def _timed(command: list[str], root: Path, environment: dict[str, str]) -> float:
    times = []
    for _ in range(3):
        began_s = time.monotonic()
        subprocess.run(command, cwd=root, env=environment, check=True, stdout=subprocess.DEVNULL)
        times.append(time.monotonic() - began_s)
    return statistics.median(times)


async def _sleep(number: int, mean_s: float) -> int:
    await asyncio.sleep(mean_s * (0.25 + 1.5 * (number * 7919 % 1000) / 999))
    return number


async def _simulated(workers: int, units: int, mean_s: float) -> float:
    """Wall time of the units on so many workers, each of which runs one at a time."""
    import dask
    from distributed import Client, Scheduler, Worker

    settings = {
        "distributed.scheduler.worker-saturation": 1.0,
        "distributed.worker.memory.target": False, "distributed.worker.memory.spill": False,
        "distributed.worker.memory.pause": False, "distributed.worker.memory.terminate": False,
        "distributed.admin.low-level-log-length": 0,
    }  # fmt: skip
    with dask.config.set(settings):
        async with Scheduler(host="127.0.0.1", port=0, dashboard=False) as scheduler:
            started = [
                Worker(scheduler.address, nthreads=1, resources={"GPU": 1}, dashboard=False)
                for _ in range(workers)
            ]
            await asyncio.gather(*started)
            async with Client(scheduler.address, asynchronous=True, set_as_default=False) as client:
                began_s = time.monotonic()
                futures = [
                    client.submit(_sleep, n, mean_s, resources={"GPU": 1}, pure=False)
                    for n in range(units)
                ]
                await client.gather(futures)
                wall_s = time.monotonic() - began_s
            await asyncio.gather(*(worker.close() for worker in started))
    return wall_s
