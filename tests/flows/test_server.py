import os
import socket
import subprocess
import sys

import psutil
import pytest

from synthct.data.errors import MachineError
from synthct.flows.run import prefect_process
from synthct.flows.run import prefect_server as module
from synthct.flows.run.prefect_process import SQLITE_BYTES
from synthct.flows.run.prefect_server import prefect_server


@pytest.fixture
def no_server_given(monkeypatch):
    monkeypatch.delenv("PREFECT_API_URL", raising=False)


@pytest.fixture
def taken():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_port_in_use_is_named_with_the_way_out(taken, tmp_path, no_server_given):
    with pytest.raises(MachineError) as caught, prefect_server(tmp_path, port=taken):
        pass
    assert f"127.0.0.1:{taken}" in str(caught.value)
    assert "another --prefect-port" in str(caught.value)
    assert caught.value.code == "port-in-use"


def test_port_taken_between_look_and_start_is_the_same_fault(
    taken, tmp_path, no_server_given, monkeypatch
):
    words = "[Errno 98] error while attempting to bind: address already in use"
    monkeypatch.setattr(module, "_require_free", lambda port: port)
    monkeypatch.setattr(module, "_answers", lambda _: False)
    monkeypatch.setattr(module, "_command", lambda _: ["sh", "-c", f"echo '{words}'; exit 1"])
    with pytest.raises(MachineError, match="cannot use this port"):
        with prefect_server(tmp_path, port=taken):
            pass


def test_server_that_the_user_named_but_does_not_answer_is_a_fault(taken, tmp_path, monkeypatch):
    monkeypatch.setenv("PREFECT_API_URL", f"http://127.0.0.1:{taken}/api")
    monkeypatch.setattr(module, "_EXTERNAL_TIMEOUT_S", 0.1)
    monkeypatch.setattr(module, "_answers", lambda _: False)
    with pytest.raises(MachineError, match="unset PREFECT_API_URL"), prefect_server(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_server_that_the_user_runs_is_used_and_left_running(server, tmp_path):
    with prefect_server(tmp_path, port=1) as url:
        assert url == server
    assert module._answers(server)


def test_a_run_at_a_served_or_a_given_server_beats_so_rarely_that_it_is_called_crashed(
    server, tmp_path, monkeypatch
):
    """The automation of `serve` waits for 90 s; Prefect's own default is a beat in 180 s."""
    beats = []

    def note():
        beats.append(os.environ.get("PREFECT_FLOWS_HEARTBEAT_FREQUENCY"))

    monkeypatch.delenv("PREFECT_FLOWS_HEARTBEAT_FREQUENCY", raising=False)
    with prefect_server(tmp_path, meanwhile=note):
        note()
    (tmp_path / module.SERVING).write_text(server)
    monkeypatch.delenv("PREFECT_API_URL")
    with prefect_server(tmp_path / "prefect", meanwhile=note) as url:
        assert url == server
        note()
    assert beats == ["30"] * 4


def test_the_database_of_a_server_grows_for_ever(tmp_path):
    settings = module._settings(tmp_path, "http://127.0.0.1:1/api", True, "a:b")
    script = (
        "from prefect.settings import get_current_settings\n"
        "found = get_current_settings().server.services.db_vacuum\n"
        "print(sorted(found.enabled_vacuum_types), found.retention_period.days)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env={**os.environ, **settings}, capture_output=True,
        text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "['events', 'flow_runs', 'orphans'] 30\n"


def test_children_and_client_get_the_one_server(server):
    assert os.environ["PREFECT_API_URL"] == server
    assert os.environ["PREFECT_SERVER_UI_API_URL"] == server
    assert os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"


def test_the_servers_pages_in_memory_are_without_a_bound(server, tmp_path):
    """The bound is the process's: a connection that comes later sees it."""
    script = (
        "import sqlite3, sys, threading\n"
        "from synthct.flows.run.prefect_process import bound_memory\nbound_memory()\n"
        "print(sqlite3.connect('later.db').execute('PRAGMA soft_heap_limit').fetchone()[0],"
        " [each.name for each in threading.enumerate()])\n"
    )
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == f"{SQLITE_BYTES} ['MainThread', 'tidy']\n"
    family = psutil.Process().children(recursive=True)
    assert any(prefect_process.__file__ in each.cmdline() for each in family)
