"""A hundred scheduled runs in a row; a run that went silent with nobody left to say so."""

from __future__ import annotations

import contextlib
import time

import psutil
import pytest

from tests.flows.serve.test_serving import ended, waiting


def weight(site):
    """(memory, open files) of everything that serves; runs come and go in between."""
    family = [site.process.pid, *(p.pid for p in psutil.Process(site.process.pid).children(True))]
    memory, handles = 0, 0
    for pid in family:
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(pid)
            memory += process.memory_full_info().pss
            handles += process.num_fds()
    return memory, handles


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_a_hundred_runs_fail_once_or_leave_memory_and_files(site, until):
    for _ in range(10):
        assert ended(site, site.start(), until) == "COMPLETED"
    time.sleep(10)
    before = weight(site)
    states = [ended(site, site.start(), until) for _ in range(100)]
    assert states == ["COMPLETED"] * 100
    time.sleep(10)
    after = weight(site)
    assert after[0] <= 1.05 * before[0], (
        f"memory {before[0] / 2**20:.0f} -> {after[0] / 2**20:.0f} MiB"
    )
    assert after[1] <= before[1] + 5, f"open files {before[1]} -> {after[1]}"
    assert list((site.root / ".synthct/worktrees").iterdir()) == []


@pytest.mark.slow
def test_a_run_that_nobody_ends_stays_running(site, until):
    """Runner and engine die together, as with their machine: only the automation is left."""
    identity = site.start(until="wait")
    stage = waiting(site, until)
    engine = next(each for each in stage.parents() if "prefect" in " ".join(each.cmdline()))
    runner = next(
        each for each in stage.parents() if "flows.serve.runner" in " ".join(each.cmdline())
    )
    died_s = time.monotonic()
    runner.kill()
    engine.kill()
    assert ended(site, identity, until, 150) == "CRASHED"
    assert time.monotonic() - died_s <= 120
