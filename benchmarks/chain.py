"""The whole chain: wall time a stage, no-op time, dispatch overhead, peak memory."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil

from benchmarks._speed import processor
from synthct.flows.clusters.opening import open_cluster
from synthct.tasks.pipeline.fanout import OnDask
from tests.fixtures.checkout import copy_checkout

UNITS = 1000


def measure() -> str:
    """Run the demo from nothing in a temporary clone, then again; then 1,000 units of no work."""
    with tempfile.TemporaryDirectory(prefix="synthct-bench-") as temporary:
        root = copy_checkout(Path(temporary) / "clone")
        first = _timed([sys.executable, "-m", "synthct.flows", "run", "--cluster", "local"], root)
        stages = _stage_seconds(root)
        second = _timed([sys.executable, "-m", "synthct.flows", "run", "--cluster", "local"], root)
    dispatch_ms = _dispatch_ms()
    rows = [f"| {name} | {seconds:.1f} |" for name, seconds in stages.items()]
    rows.append(f"| all, with server, cluster and DVC | {first['wall_s']:.1f} |")
    return "\n".join(
        [
            processor().partition(" One thread")[0],
            "",
            "## `make run` from nothing: the demo, two workers of one thread",
            "",
            "| stage | wall [s] |",
            "|---|---|",
            *rows,
            "",
            f"Processor time of all its processes: {first['cpu_s']:.0f} s (user and system).",
            "",
            "## Overheads",
            "",
            "| what | measured | limit |",
            "|---|---|---|",
            f"| run when all is current | {second['wall_s']:.1f} s | 15 s |",
            f"| peak memory, all processes (sum of PSS) | {first['peak_gib']:.2f} GiB | 6 GB |",
            f"| dispatch, {UNITS} units without work, 2 workers | {dispatch_ms:.1f} ms | 20 ms |",
        ]
    )


def _timed(command: list[str], root: Path) -> dict[str, float]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SYNTHCT")}
    environment["PYTHONPATH"] = str(root / "src")  # the checkout's own code, not what is installed
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    started, spent_s = time.monotonic(), _children_s()
    process = subprocess.Popen(command, cwd=root, env=environment, stdout=subprocess.DEVNULL)
    peak = [0.0]
    watcher = threading.Thread(target=_watch_memory, args=(process.pid, peak), daemon=True)
    watcher.start()
    if process.wait():
        raise RuntimeError(f"{' '.join(command)} exited {process.returncode}")
    return {
        "wall_s": time.monotonic() - started,
        "cpu_s": _children_s() - spent_s,
        "peak_gib": peak[0] / 2**30,
    }


def _children_s() -> float:
    """Processor time of ended children, and of theirs [s]."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _watch_memory(pid: int, peak: list[float]) -> None:
    """Sum of proportional set sizes of the process tree, twice a second."""
    while psutil.pid_exists(pid):
        total = 0
        try:
            tree = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
        except psutil.NoSuchProcess:
            return
        for process in tree:
            try:
                total += process.memory_full_info().pss
            except (psutil.NoSuchProcess, psutil.AccessDenied, FileNotFoundError):
                continue
        peak[0] = max(peak[0], total)
        time.sleep(0.5)


def _stage_seconds(root: Path) -> dict[str, float]:
    started: dict[str, float] = {}
    seconds: dict[str, float] = {}
    for file in sorted((root / ".synthct" / "runs").glob("*/events.jsonl")):
        for line in file.read_text().splitlines():
            event = json.loads(line)
            if event["kind"] == "stage_started":
                started[event["stage"]] = event["time_s"]
            elif event["kind"] == "stage_done":
                seconds[event["stage"]] = event["time_s"] - started[event["stage"]]
    return seconds


def _nothing(number: int) -> int:
    return number


def _dispatch_ms() -> float:
    with open_cluster("local", workers=2, root=Path.cwd(), variables={}) as cluster:
        fan_out = OnDask(str(cluster.scheduler))
        list(fan_out(_nothing, range(2), label=str))
        started = time.monotonic()
        done = sum(1 for _ in fan_out(_nothing, range(UNITS), label=str))
        if done != UNITS:
            raise RuntimeError(f"{UNITS} units went out, {done} came back")
        return (time.monotonic() - started) / UNITS * 1000
