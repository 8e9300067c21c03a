"""Many `dvc repro` at once, and a lock that a killed one left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from synthct.flows.run.stages import Record, build_stage, busy
from synthct.flows.workspace.freshness import dvc_command, to_build
from synthct.flows.workspace.project import QUIET


def start(root):
    return subprocess.Popen(
        dvc_command("--wait-for-lock", "repro"), cwd=root, start_new_session=True,
        env={**os.environ, **QUIET, "SYNTHCT_EVENTS": os.devnull},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


@pytest.mark.parametrize(
    "count", [pytest.param(count, marks=pytest.mark.slow) for count in (3, 24)]
)
def test_parallel_runs_lose_or_halve_a_result(count, toy):
    """Those that DVC turns away say so in one line; the work is done once, and whole."""
    started = [start(toy.root) for _ in range(count)]
    told = [process.communicate(timeout=300)[0] for process in started]
    for process, text in zip(started, told, strict=True):
        assert process.returncode == 0 or busy(text.splitlines()), text
    assert any(process.returncode == 0 for process in started)
    assert to_build(toy) == ()
    assert (toy.root / "out/three/result.txt").read_text() == "scan one two three\n"


def test_a_stage_whose_files_are_in_use_fails_at_once(toy, monkeypatch):
    """The flow waits for the other DVC, which holds the file for two seconds."""
    script = (
        "import sys, time\nfrom pathlib import Path\nmark = Path('tries')\n"
        "tries = int(mark.read_text()) if mark.exists() else 0\nmark.write_text(str(tries + 1))\n"
        "if tries < 2:\n    sys.exit(\"ERROR: failed to reproduce 'one': 'out/one' is busy, it is "
        'being blocked by:")\nprint("Running stage \'one\':")\n'
    )
    monkeypatch.setattr(
        "synthct.flows.run.stages.dvc_command", lambda *_: [sys.executable, "-c", script]
    )
    monkeypatch.setattr("synthct.flows.run.stages._BUSY_WAIT_S", 0.1)
    record = Record(toy.root)
    built = build_stage(toy, toy.steps[0], record, toy.environment(), [])
    assert built.how == "ran"
    assert (toy.root / "tries").read_text() == "3"


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
