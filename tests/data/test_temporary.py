"""Temporary folders: none outlives its process for long, none is taken from a live one."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from synthct.data.temporary import sweep, temporary_folder

ROOT = Path(__file__).resolve().parents[2]

HOLDER = """
import signal, sys, time
from pathlib import Path
from synthct.data.temporary import temporary_folder
from synthct.tasks.pipeline.ending import graceful_termination
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # tests run under nohup ignore it
with graceful_termination(), temporary_folder("inbox") as folder:
    (folder / "Doe Jane.dcm").touch()
    print(folder, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr("tempfile.tempdir", None)
    return folder


@pytest.fixture
def holder(place):
    """A process with a folder that holds a name."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER], stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    process.folder = Path(process.stdout.readline().strip())
    yield process
    process.kill()
    process.communicate()


def test_the_folder_of_a_live_process_is_swept_or_open_to_others(holder, place):
    assert sweep() == 0
    assert holder.folder.parent == place
    assert [file.name for file in holder.folder.iterdir()] == ["Doe Jane.dcm"]
    assert holder.folder.stat().st_mode & 0o077 == 0


def test_what_a_kill_left_stays_for_ever(holder, place):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert holder.folder.exists()
    with temporary_folder("unit") as folder:
        assert list(place.iterdir()) == [folder]
    assert list(place.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_polite_signal_leaves_the_folder_behind(number, holder, place):
    holder.send_signal(number)
    assert holder.wait(10) != 0
    assert list(place.iterdir()) == []


def test_sweeping_follows_a_link_or_takes_what_is_not_ours(place, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "kept").touch()
    (place / ".synthct.link.a").symlink_to(tmp_path / "other")
    (place / "synthct-something").mkdir()
    (place / ".synthct.file.a").touch()
    sweep()
    assert (tmp_path / "other" / "kept").exists()
    assert (place / "synthct-something").exists()


@pytest.fixture
def nobody():
    """Without the rights of root, to which no mode forbids anything."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_folder_that_forbids_writing_keeps_a_scan_with_a_name(tmp_path, request, monkeypatch):
    """As it is copied from a disk that may only be read."""
    place = Path(tempfile.mkdtemp(dir="/tmp"))  # whose parents everyone may enter
    place.chmod(0o777)
    request.addfinalizer(lambda: shutil.rmtree(place, ignore_errors=True))
    request.getfixturevalue("nobody")
    monkeypatch.setattr(os, "getuid", os.geteuid)
    left = place / ".synthct.inbox.killed"
    with temporary_folder("inbox", place) as folder:
        for each in (folder, left):
            (each / "scan" / "inner").mkdir(parents=True)
            (each / "scan" / "inner" / "Doe Jane.dcm").touch()
            (each / "scan" / "out").symlink_to(tmp_path)
            (each / "scan" / "inner").chmod(0o555)
            (each / "scan").chmod(0o555)
    assert list(place.iterdir()) == [left]
    assert sweep(place) == 1
    assert list(place.iterdir()) == []


WATCH = """
import signal, sys
from synthct.flows.cli import app
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # tests run under nohup ignore it
sys.exit(app.command_line(sys.argv[1:]))
"""
SIGNALS = [
    signal.SIGTERM,
    pytest.param(signal.SIGHUP, marks=pytest.mark.slow),
    signal.SIGKILL,
]


@pytest.mark.parametrize("number", SIGNALS)
def test_a_scan_with_a_name_stays_in_the_temporary_folder(number, place, tmp_path):
    """The watcher's release is a wreck: it is found out only after the scan was fetched."""
    (tmp_path / "release").mkdir()
    (tmp_path / "release" / "checksums.json").write_text("{}")
    inbox = tmp_path / "in" / "Doe Jane"
    inbox.mkdir(parents=True)
    (inbox / "1.dcm").write_bytes(b"scan")
    command = [
        sys.executable, "-c", WATCH, "watch", "--model", tmp_path / "release", "--inbox",
        tmp_path / "in", "--out", tmp_path / "out", "--plain", "--settle", "0.2", "--every", "0.5",
    ]  # fmt: skip
    watcher = subprocess.Popen(
        list(map(str, command)), env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not list(place.glob(".synthct.inbox.*/scan")):
        assert time.monotonic() < deadline
        assert watcher.poll() is None, watcher.stderr.read()
        time.sleep(0.005)
    watcher.send_signal(number)
    _, said = watcher.communicate(timeout=30)
    if number == signal.SIGKILL:
        time.sleep(2)  # the worker notices within a second
        subprocess.run(
            [sys.executable, "-c", WATCH, "--version"], check=True, stdout=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
    else:
        assert watcher.returncode == 1
        assert said.startswith("synthct: stopped")
    assert list(place.rglob("*.dcm")) == list(place.glob(".synthct.*")) == []
