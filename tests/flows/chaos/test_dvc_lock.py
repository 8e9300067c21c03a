"""Many `dvc repro` at once, and a lock that a killed one left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from synthct.data.errors import MachineError
from synthct.flows.run.stages import RunRecord, build_stage
from synthct.flows.workspace.freshness import busy, dvc_command, to_build
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
    monkeypatch.setattr("synthct.flows.run.stages.BUSY_WAIT_S", 0.1)
    record = RunRecord(toy.root)
    built = build_stage(toy, toy.stages[0], record, toy.environment(), [])
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


def held_by_a_person(toy):
    """`dvc repro` typed by hand, in the middle of its first stage."""
    (toy.root / "wait-one").touch()
    first = start(toy.root)
    deadline = time.monotonic() + 120
    while not (toy.root / "started").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return first


def test_a_run_beside_dvc_repro_ends_busy_instead_of_waiting(toy, capfd):
    """`dvc status` too takes the locks of single files, and so was refused before any stage."""
    first = held_by_a_person(toy)
    pid = int((toy.root / "started").read_text())
    later = threading.Timer(4.0, lambda: [(toy.root / "wait-one").unlink(), os.kill(pid, 9)])
    later.start()
    stages = to_build(toy)
    assert first.wait(timeout=60), "the person's stage was killed: its locks are gone"
    first.stdout.close()
    assert [stage.name for stage in stages] == ["one", "two", "three"]
    told = capfd.readouterr().err
    assert told.count("waiting for it") == 1
    assert "PID" in told
    record = RunRecord(toy.root)
    variables = toy.environment() | {"SYNTHCT_EVENTS": str(record.events)}
    record.events.touch()
    assert build_stage(toy, stages[0], record, variables, []).how == "ran"


def test_a_lock_of_the_list_of_locks_is_taken_for_a_failure():
    assert busy(["ERROR: Unable to acquire lock. Most likely another DVC process is running"])
    assert not busy(["scan.mha: being blocked by a wall"])


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_dvc_is_reported_as_the_failure_of_its_stage(number, toy, monkeypatch):
    script = (
        "import os, sys\nprint('Running stage one:', flush=True)\n"
        f"print('scan 3 of 9', flush=True)\nos.kill(os.getpid(), {int(number)})\n"
    )
    monkeypatch.setattr(
        "synthct.flows.run.stages.dvc_command", lambda *_: [sys.executable, "-c", script]
    )
    with pytest.raises(MachineError, match=f"DVC was killed by {number.name}") as caught:
        build_stage(toy, toy.stages[0], RunRecord(toy.root), toy.environment(), [])
    assert caught.value.code == "dvc-killed"


def test_a_failed_stage_is_reported_as_a_killed_dvc(toy, monkeypatch):
    """DVC itself ends with 255 or 1; a stage that was killed is in its words."""
    for code in (1, 255):
        script = f"import sys\nprint('scan.mha: three axes')\nsys.exit({code})"
        monkeypatch.setattr(
            "synthct.flows.run.stages.dvc_command",
            lambda *_, script=script: [sys.executable, "-c", script],
        )
        with pytest.raises(MachineError, match=r"stage one failed: scan\.mha: three axes"):
            build_stage(toy, toy.stages[0], RunRecord(toy.root), toy.environment(), [])
