import os
import socket

import pytest

from data.faults import MachineFault
from flows import server as module
from flows.server import prefect_server


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
    with pytest.raises(MachineFault) as caught, prefect_server(tmp_path, port=taken):
        pass
    assert f"127.0.0.1:{taken}" in str(caught.value)
    assert "another --port" in str(caught.value)
    assert caught.value.code == "port-in-use"


def test_port_taken_between_look_and_start_is_the_same_fault(
    taken, tmp_path, no_server_given, monkeypatch
):
    words = "[Errno 98] error while attempting to bind: address already in use"
    monkeypatch.setattr(module, "_require_free", lambda port: port)
    monkeypatch.setattr(module, "_answers", lambda _: False)
    monkeypatch.setattr(module, "_command", lambda _: ["sh", "-c", f"echo '{words}'; exit 1"])
    with pytest.raises(MachineFault, match="port of the Prefect server is free"):
        with prefect_server(tmp_path, port=taken):
            pass


def test_server_that_the_user_named_but_does_not_answer_is_a_fault(taken, tmp_path, monkeypatch):
    monkeypatch.setenv("PREFECT_API_URL", f"http://127.0.0.1:{taken}/api")
    monkeypatch.setattr(module, "_GIVEN_PATIENCE_S", 0.1)
    monkeypatch.setattr(module, "_answers", lambda _: False)
    with pytest.raises(MachineFault, match="unset PREFECT_API_URL"), prefect_server(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_server_that_the_user_runs_is_used_and_left_running(server, tmp_path):
    with prefect_server(tmp_path, port=1) as url:
        assert url == server
    assert module._answers(server)


def test_children_and_client_are_told_the_one_server(server):
    assert os.environ["PREFECT_API_URL"] == server
    assert os.environ["PREFECT_SERVER_UI_API_URL"] == server
    assert os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
