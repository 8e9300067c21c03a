"""A hundred scheduled runs in a row; a run that went silent with nobody left to say so."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

import psutil
import pytest

from synthct.flows.run.prefect_process import TIDY_EVERY_S
from tests.flows.serve.test_serving import ended, waiting


def weight(site):
    """(memory [MiB], open files) of each process that serves; runs come and go in between.

    Anonymous memory is what a leak is made of. The other, of libraries and mapped files, is less
    while strangers on the machine have the same files loaded.
    """
    time.sleep(TIDY_EVERY_S + 5)
    found = {}
    for process in [site.process, *psutil.Process(site.process.pid).children(True)]:
        with contextlib.suppress(psutil.Error, OSError):
            handles = psutil.Process(process.pid).num_fds()
            found[process.pid] = _anonymous_mib(process.pid), handles
    return found


def _anonymous_mib(pid):
    """Shared with forks in equal parts."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    (kib,) = [line.split()[1] for line in lines if line.startswith("Pss_Anon:")]
    return int(kib) / 1024


def total(weights):
    """Over the processes."""
    return tuple(sum(each) for each in zip(*weights.values(), strict=True))


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_a_hundred_runs_fail_once_or_leave_memory_and_files(site, until):
    for _ in range(10):
        assert ended(site, site.start(), until) == "COMPLETED"
    before = weight(site)
    states = [ended(site, site.start(), until) for _ in range(100)]
    assert states == ["COMPLETED"] * 100
    after = weight(site)
    (memory, handles), (more_memory, more_handles) = total(before), total(after)
    told = f"MiB and open files by process: {before} -> {after}"
    assert more_memory <= 1.05 * memory, told
    assert more_handles <= handles + 5, told
    assert list((site.root / ".synthct/worktrees").iterdir()) == []
    print(f"memory {memory:.0f} -> {more_memory:.0f} MiB, open files {handles} -> {more_handles}")


@pytest.mark.slow
def test_a_run_that_nobody_ends_stays_running(site, until):
    """Runner and engine die together, as with their machine: only the automation is left."""
    identity = site.start(until="wait")
    stage = waiting(site, until)
    engine = next(each for each in stage.parents() if "prefect" in " ".join(each.cmdline()))
    runner = next(
        each for each in stage.parents() if "synthct.flows.serve.runner" in " ".join(each.cmdline())
    )
    died_s = time.monotonic()
    runner.kill()
    engine.kill()
    assert ended(site, identity, until, 150) == "CRASHED"
    assert time.monotonic() - died_s <= 120


@pytest.mark.slow
def test_a_run_by_hand_beside_serve_is_called_crashed_while_it_works(site, toy, start_flow):
    """`synthct run` tells the same server; its stage is silent for longer than the automation."""
    (toy.root / "wait-one").touch()
    flow = start_flow(
        toy,
        PREFECT_API_URL=site.api,
        PREFECT_API_AUTH_STRING=site.calls.auth,
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY="",
        SYNTHCT_TOY_NAP_S="130",
    )
    said, _ = flow.communicate(timeout=400)
    assert flow.returncode == 0, said
    runs = [run for run in site.ask("/flow_runs/filter") if run["parameters"].get("stages")]
    assert [run["state_type"] for run in runs] == ["COMPLETED"]
