"""Cores, memory, GPU, clock."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from synthct.flows.upkeep.doctor.check_result import CheckResult, error, ok, warning
from synthct.tasks.pipeline.machine import EMULATED, bfloat16_features

LEAST_MEMORY_GB = 6.0
"""The demo's peak on two workers."""

_CLOCK_SKEW_S = 5.0
_GIB = 2**30


def look_at_hardware(root: Path) -> Iterator[CheckResult]:
    """What the computer itself offers."""
    cores = len(os.sched_getaffinity(0))
    yield ok("cores", f"{cores}: --cluster local starts as many workers")
    yield _memory(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / _GIB)
    yield _gpu()
    yield bfloat16(bfloat16_features())
    yield clock(time.time(), _newest_commit_s(root), _file_time_s())


def _memory(gib: float) -> CheckResult:
    if gib >= LEAST_MEMORY_GB:
        return ok("memory", f"{gib:.1f} GiB")
    return warning(
        "memory",
        f"{gib:.1f} GiB",
        f"the demo on two workers takes {LEAST_MEMORY_GB:g}: --workers 1",
    )


def bfloat16(features: Sequence[str]) -> CheckResult:
    """Whether networks train in bfloat16 here without pretending."""
    if features:
        return ok("bfloat16", f"{', '.join(features)}: training.precision auto takes it")
    return warning(
        "bfloat16",
        "none in the processor: training.precision auto takes float32",
        f"precision: bfloat16 takes {EMULATED} here, say auto",
    )


def _gpu() -> CheckResult:
    tool = shutil.which("nvidia-smi")
    listed = (
        subprocess.run([tool, "-L"], capture_output=True, text=True, check=False).stdout
        if tool
        else ""
    )
    names = [line.split(" (UUID")[0] for line in listed.splitlines() if line.startswith("GPU")]
    if names:
        return ok("GPU", "; ".join(names))
    return warning("GPU", "none: networks run on the CPU", "presets of clinical size want one")


def clock(now_s: float, newest_commit_s: float, file_time_s: float) -> CheckResult:
    """A clock that is behind makes S3 refuse requests and schedules fire at the wrong time."""
    told = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now_s))
    if now_s < newest_commit_s - _CLOCK_SKEW_S:
        return error("clock", f"{told}, before the newest commit", "set the clock (ntp)")
    if abs(file_time_s - now_s) > _CLOCK_SKEW_S:
        return error(
            "clock",
            f"{told}, the file system is {file_time_s - now_s:+.0f} s off",
            "set the clocks of this machine and of its file server (ntp)",
        )
    return ok("clock", told)


def _newest_commit_s(root: Path) -> float:
    command = ["git", "log", "-1", "--format=%ct"]
    try:
        said = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False).stdout
    except OSError:
        return 0.0
    return float(said.strip() or 0.0)


def _file_time_s() -> float:
    with tempfile.NamedTemporaryFile() as file:
        return Path(file.name).stat().st_mtime
