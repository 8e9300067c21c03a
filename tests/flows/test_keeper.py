import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from synthct.flows.processes.children import SupervisedProcess, environment

ROOT = Path(__file__).resolve().parent.parent.parent


def kept(script, tmp_path):
    return SupervisedProcess(["sh", "-c", script], folder=tmp_path, environment=os.environ)


@pytest.mark.parametrize(("script", "code"), [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137)])
def test_exit_code_of_the_command_is_not_lost(script, code, tmp_path):
    with kept(script, tmp_path) as child:
        assert list(child.lines(1.0)) == []
        assert child.wait() == code


def test_output_comes_line_by_line_with_pauses_marked(tmp_path):
    with kept("echo first; sleep 0.5; printf last", tmp_path) as child:
        lines = list(child.lines(0.1))
    assert [line for line in lines if line is not None] == ["first", "last"]
    assert None in lines


def test_stopping_leaves_no_descendant_not_even_one_in_a_session_of_its_own(
    tmp_path, family, until
):
    script = "setsid sleep 300 & (sleep 300 & sleep 300) & echo ready; sleep 300"
    with kept(script, tmp_path) as child:
        assert next(child.lines(5.0)) == "ready"
        # keeper, shell and at least three sleeps
        members = until(lambda: len(m := family(child.pid)) >= 5 and m, 5, "the sleeps")
    assert [member for member in members if member.is_running()] == []


def test_command_that_ignores_the_polite_signal_is_ended(tmp_path, family):
    with kept("trap '' TERM; echo ready; while :; do sleep 1; done", tmp_path) as child:
        assert next(child.lines(5.0)) == "ready"
        members = family(child.pid)
    assert [member for member in members if member.is_running()] == []


def test_nothing_outlives_a_holder_that_was_killed(tmp_path, until):
    holder = (
        "import os, sys, time\nfrom pathlib import Path\n"
        "from synthct.flows.processes.children import SupervisedProcess\n"
        "child = SupervisedProcess(['sh', '-c', 'sleep 300 & sleep 300'], folder=Path('.'),"
        " environment=os.environ)\nprint(child.pid, flush=True)\ntime.sleep(300)\n"
    )
    with environment({"PYTHONPATH": str(ROOT / "src")}):
        process = subprocess.Popen(
            [sys.executable, "-c", holder], cwd=tmp_path, stdout=subprocess.PIPE, text=True
        )
    keeper = psutil.Process(int(process.stdout.readline()))
    members = until(
        lambda: (c := keeper.children(recursive=True)) and len(c) >= 3 and c, 5, "sleeps"
    )
    process.kill()
    process.wait()
    process.stdout.close()
    _, alive = psutil.wait_procs([keeper, *members], timeout=5)
    assert alive == []


def test_environment_is_as_before_after_the_block(monkeypatch):
    monkeypatch.setenv("SYNTHCT_A", "old")
    monkeypatch.delenv("SYNTHCT_B", raising=False)
    with environment({"SYNTHCT_A": "new", "SYNTHCT_B": "new"}):
        assert os.environ["SYNTHCT_A"] == os.environ["SYNTHCT_B"] == "new"
    assert os.environ["SYNTHCT_A"] == "old"
    assert "SYNTHCT_B" not in os.environ
