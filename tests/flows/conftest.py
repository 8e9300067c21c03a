"""A toy chain in a git and DVC repository of its own, and one Prefect server for all tests."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from rich.console import Console

from synthct.flows.run.prefect_server import prefect_server
from synthct.flows.run.running import RunOptions, run_project
from synthct.flows.workspace.project import QUIET, Project, StageTarget

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
_QUIET_DVC = "[core]\n    analytics = false\n    check_update = false\n"
STAGES = {"one": "in.txt", "two": "out/one/result.txt", "three": "out/two/result.txt"}


def _dvc(root, *arguments):
    command = [sys.executable, "-m", "dvc", *arguments]
    environment = {**os.environ, **QUIET, "SYNTHCT_EVENTS": os.devnull}
    subprocess.run(command, cwd=root, check=True, capture_output=True, env=environment)


@pytest.fixture(scope="session")
def _toy_template(tmp_path_factory):
    root = tmp_path_factory.mktemp("template") / "toy"
    root.mkdir()
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    _dvc(root, "init", "-q")
    (root / ".dvc" / "config").write_text(_QUIET_DVC)
    shutil.copy(HERE / "toy_stage.py", root)
    (root / "in.txt").write_text("scan\n")
    entries = "".join(
        f"  {name}:\n    cmd: python toy_stage.py {name} {reads}\n"
        f"    deps: [{reads}]\n    outs: [out/{name}]\n"
        for name, reads in STAGES.items()
    )
    (root / "dvc.yaml").write_text(f"stages:\n{entries}")
    return root


@pytest.fixture
def toy(_toy_template, tmp_path):
    """Project of three stages that each append their name to the text they read."""
    root = tmp_path / "toy"
    shutil.copytree(_toy_template, root)
    return Project(root, "toy", _stages())


def _stages():
    return tuple(StageTarget(name, name, Path("out") / name, f"makes {name}") for name in STAGES)


@pytest.fixture(scope="session")
def _built_template(_toy_template, tmp_path_factory):
    """The toy chain after one plain `dvc repro`: tests of a second run start here."""
    root = tmp_path_factory.mktemp("built") / "toy"
    shutil.copytree(_toy_template, root)
    _dvc(root, "repro")
    return root


@pytest.fixture
def built_toy(_built_template, tmp_path):
    """As ``toy``, with all three stages up to date."""
    root = tmp_path / "built"
    shutil.copytree(_built_template, root)
    return Project(root, "toy", _stages())


@pytest.fixture(scope="session")
def _server(tmp_path_factory):
    """(address, its database while it was still empty) of the one Prefect server."""
    home = tmp_path_factory.mktemp("prefect")
    with prefect_server(home) as url:
        empty = tmp_path_factory.mktemp("empty") / "prefect.db"
        with (
            contextlib.closing(sqlite3.connect(home / "prefect.db")) as database,
            contextlib.closing(sqlite3.connect(empty)) as copy,
        ):
            database.backup(copy)
        yield url, empty


@pytest.fixture(scope="session")
def server(_server):
    """Address of the one Prefect server; it ends with the tests."""
    return _server[0]


@pytest.fixture(scope="session")
def empty_database(_server):
    """Of a Prefect server that knows no run: making one takes half a minute of a crowded core."""
    return _server[1]


@pytest.fixture
def run_stages(server):
    """Run a project in this process; what was built and what the terminal showed."""

    def run(project, cluster="here"):
        console = Console(record=True, file=io.StringIO(), width=200)
        built = run_project(project, RunOptions(cluster, workers=1), console)
        return built, console.export_text()

    return run


@pytest.fixture
def start_flow(server):
    """Start the toy chain in a process of its own; killed at the end whatever happens."""
    started = []

    def start(project, cluster="here", **variables):
        command = [sys.executable, str(HERE / "toy_run.py"), str(project.root), cluster]
        process = subprocess.Popen(
            command,
            cwd=project.root,
            env={**os.environ, "PYTHONPATH": str(ROOT / "src"), **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture
def until():
    """Wait until something holds; fail when it does not in time."""

    def wait(holds, seconds, what, every_s=0.05):
        deadline = time.monotonic() + seconds
        while not (value := holds()):
            assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
            time.sleep(every_s)
        return value

    return wait


@pytest.fixture
def family():
    """Every living process below a process, itself included."""

    def of(pid):
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]

    return of
