"""Checks of cores, memory, GPU, bfloat16 and clock."""

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

MIN_MEMORY_GB = 6.0
"""Peak memory of the demo on two workers."""

_CLOCK_SKEW_S = 5.0
_GIB = 2**30


def check_hardware(root: Path) -> Iterator[CheckResult]:
    """Check cores, memory, GPU, bfloat16 and clock."""
    cores = len(os.sched_getaffinity(0))
    yield ok("cores", f"{cores}: --cluster local starts as many workers")
    yield _memory(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / _GIB)
    yield _gpu()
    yield bfloat16(bfloat16_features())
    yield clock(time.time(), _newest_commit_s(root), _file_time_s())


def _memory(gib: float) -> CheckResult:
    if gib >= MIN_MEMORY_GB:
        return ok("memory", f"{gib:.1f} GiB")
    return warning(
        "memory",
        f"{gib:.1f} GiB",
        f"the demo on two workers needs {MIN_MEMORY_GB:g} GiB: use --workers 1",
    )


def bfloat16(features: Sequence[str]) -> CheckResult:
    """Whether the processor computes in bfloat16 natively rather than by emulation."""
    if features:
        return ok("bfloat16", f"{', '.join(features)}: used by training.precision auto")
    return warning(
        "bfloat16",
        "not supported by the processor: training.precision auto uses float32",
        f"do not set precision to bfloat16, which takes {EMULATED} here; use auto",
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
    return warning("GPU", "none: networks run on the CPU", "presets of clinical size need one")


def clock(now_s: float, newest_commit_s: float, file_time_s: float) -> CheckResult:
    """Check the clock: S3 refuses requests, and schedules start late, where it is behind."""
    now = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now_s))
    if now_s < newest_commit_s - _CLOCK_SKEW_S:
        return error("clock", f"{now}, before the newest commit", "set the clock (ntp)")
    if abs(file_time_s - now_s) > _CLOCK_SKEW_S:
        return error(
            "clock",
            f"{now}, the file system's clock differs by {file_time_s - now_s:+.0f} s",
            "synchronize the clocks of this machine and of its file server (ntp)",
        )
    return ok("clock", now)


def _newest_commit_s(root: Path) -> float:
    command = ["git", "log", "-1", "--format=%ct"]
    try:
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    except OSError:
        return 0.0
    return float(done.stdout.strip() or 0.0)


def _file_time_s() -> float:
    with tempfile.NamedTemporaryFile() as file:
        return Path(file.name).stat().st_mtime
