"""Many `dvc repro` at once, and a lock that a killed one left."""

from __future__ import annotations

import os
import signal
import subprocess
import time

import pytest

from flows.freshness import dvc_command, to_build
from flows.project import QUIET


def start(root):
    return subprocess.Popen(
        dvc_command("--wait-for-lock", "repro"), cwd=root, start_new_session=True,
        env={**os.environ, **QUIET, "SYNTHCT_EVENTS": os.devnull},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


@pytest.mark.parametrize("count", [3, pytest.param(24, marks=pytest.mark.slow)])
def test_parallel_runs_fail_on_each_others_lock(count, toy):
    started = [start(toy.root) for _ in range(count)]
    told = [process.communicate(timeout=400)[0] for process in started]
    assert [process.returncode for process in started] == [0] * count, told
    assert sum("Running stage" in text for text in told) == 1, "one of them did the work"
    assert to_build(toy) == ()
    assert (toy.root / "out/three/result.txt").read_text() == "scan one two three\n"


def test_a_lock_left_by_a_kill_blocks_the_next_run(toy):
    (toy.root / "wait-one").touch()
    first = start(toy.root)
    deadline = time.monotonic() + 60
    while not (toy.root / "started").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    first.stdout.close()
    (toy.root / "wait-one").unlink()
    second = start(toy.root)
    assert second.communicate(timeout=60)[0].count("Running stage") == 3
    assert second.returncode == 0
