"""A process that is kept up: one that has ended or says nothing is replaced, a slow one is not."""

from __future__ import annotations

import os
import signal
import sys
import time

import psutil
import pytest

from synthct.flows.processes.children import RestartingProcess

WORK = "import os, time; open(f'started.{os.getpid()}', 'w'); time.sleep(600)"


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """Make a process that is kept up; what it said, and whether it answers."""
    monkeypatch.setattr(RestartingProcess, "LOOK_EVERY_S", 0.05)
    monkeypatch.setattr(RestartingProcess, "ASK_EVERY_S", 0.1)
    made, log = [], (tmp_path / "log").open("wb")

    def make(answers, hung_s):
        said = []
        process = RestartingProcess(
            "it", [sys.executable, "-c", WORK], tmp_path, log, said.append,
            answers=answers, hung_s=hung_s,
        )  # fmt: skip
        process.start()
        process.watch()
        made.append(process)
        return process, said

    yield make
    for process in made:
        process.stop()
    log.close()


def starts(tmp_path):
    return {int(file.suffix[1:]) for file in tmp_path.glob("started.*")}


def until_started(tmp_path, count):
    end_s = time.monotonic() + 30
    while len(starts(tmp_path)) < count:
        assert time.monotonic() < end_s, f"{len(starts(tmp_path))} of {count} started"
        time.sleep(0.05)


def test_a_server_that_hangs_stays_although_it_answers_nobody(kept, tmp_path):
    """Stopped, it does not even take the signal to end."""

    def answers():
        return any(psutil.Process(pid).status() != "stopped" for pid in starts(tmp_path) - gone)

    gone = set()
    _, said = kept(answers, hung_s=1.5)
    until_started(tmp_path, 1)
    (first,) = starts(tmp_path)
    os.kill(first, signal.SIGSTOP)
    end_s = time.monotonic() + 30
    while psutil.pid_exists(first) and time.monotonic() < end_s:
        time.sleep(0.05)
    gone.add(first)
    until_started(tmp_path, 2)
    assert said[0] == "it has not answered for 2 s and is restarted"
    assert not psutil.pid_exists(first)


def test_a_server_that_was_killed_is_not_started_again(kept, tmp_path):
    _, said = kept(lambda: True, hung_s=60)
    until_started(tmp_path, 1)
    os.kill(*starts(tmp_path), signal.SIGKILL)
    until_started(tmp_path, 2)
    assert said == ["it exited (137) and is restarted"]


def test_a_server_that_is_slow_for_a_while_is_replaced(kept, tmp_path):
    began_s = time.monotonic()
    _, said = kept(lambda: time.monotonic() - began_s > 1.0, hung_s=4.0)
    time.sleep(5.0)
    assert said == []
    assert len(starts(tmp_path)) == 1
