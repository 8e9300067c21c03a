import os
import socket

import psutil
import pytest

from synthct.data.errors import MachineError, UsageError
from synthct.flows.clusters.opening import KINDS, check_kind, open_cluster
from synthct.flows.clusters.started import close
from synthct.flows.run.running import RunOptions, run_project


def facts(_):
    from synthct import flows

    return os.getpid(), flows.__file__, os.environ["OMP_NUM_THREADS"], os.environ["SYNTHCT_EVENTS"]


@pytest.fixture(scope="module")
def local(request):
    root = request.config.rootpath
    with open_cluster(
        "local", workers=2, root=root, variables={"SYNTHCT_EVENTS": "/ev"}
    ) as cluster:
        yield cluster


def test_workers_and_scheduler_listen_on_loopback_only(local):
    family = [psutil.Process(), *psutil.Process().children(recursive=True)]
    listening = {
        each.laddr.ip
        for process in family
        for each in process.net_connections(kind="inet")
        if each.status == psutil.CONN_LISTEN
    }
    assert listening == {"127.0.0.1"}
    assert local.scheduler.startswith("tls://127.0.0.1:")
    assert local.dashboard.startswith("http://127.0.0.1:")


def test_workers_run_this_checkout_single_threaded_and_tell_the_run(local, request):
    from synthct.tasks.pipeline.fanout import OnDask

    found = [out.result() for _, out in OnDask(local.scheduler)(facts, [1], label=str)]
    pid, code, threads, events = found[0]
    assert pid != os.getpid()
    assert code == str(request.config.rootpath / "src" / "synthct" / "flows" / "__init__.py")
    assert (threads, events) == ("1", "/ev")


def test_memory_of_a_worker_is_shown_as_zero(local, until):
    until(lambda: all(each["memory_bytes"] > 1e7 for each in local.workers()), 10, "heartbeats")
    assert [each["name"] for each in local.workers()] == ["0", "1"]
    assert {each["threads"] for each in local.workers()} == {1}


def test_a_run_that_is_done_fails_because_its_cluster_is_slow_to_close(request, monkeypatch):
    from distributed import LocalCluster

    closed = LocalCluster.close

    def close_slowly(cluster, timeout=None):
        closed(cluster, timeout=60)
        raise TimeoutError(f"timed out after {timeout} s.")

    root = request.config.rootpath
    with open_cluster("local", workers=1, root=root, variables={}):
        monkeypatch.setattr(LocalCluster, "close", close_slowly)


def test_here_starts_nothing(tmp_path):
    before = psutil.Process().children()
    with open_cluster("here", workers=None, root=tmp_path, variables={}) as cluster:
        assert cluster.scheduler is None
        assert psutil.Process().children() == before


@pytest.mark.parametrize("kind", [*KINDS, "tcp://10.0.0.5:8786", "tls://scheduler.example:8786"])
def test_every_kind_and_the_address_of_a_scheduler_are_taken(kind):
    assert check_kind(kind) == kind


@pytest.mark.parametrize("kind", ["pbs", "http://x:1", "tcp://x", ""])
def test_cluster_that_is_not_built_is_refused(kind):
    with pytest.raises(UsageError, match="tcp://HOST:PORT"):
        check_kind(kind)


def test_slip_of_the_pen_is_met_with_the_nearest_name():
    with pytest.raises(UsageError, match="did you mean 'local'"):
        check_kind("locla")


def test_scheduler_that_is_not_there_is_a_one_line_fault(tmp_path, monkeypatch):
    monkeypatch.setattr("synthct.flows.clusters.opening.CONNECT_TIMEOUT", "0.2s")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{closed.getsockname()[1]}"
        with (
            pytest.raises(MachineError, match=address),
            open_cluster(address, workers=None, root=tmp_path, variables={}),
        ):
            pass


def test_a_cluster_that_is_slow_to_close_does_not_lose_a_finished_run(capsys):
    class Slow:
        def close(self, timeout):
            raise TimeoutError

    close(Slow(), 5)
    assert (
        "did not close within 5 s (TimeoutError); results are complete" in capsys.readouterr().err
    )


def test_an_address_where_nothing_listens_goes_unnoticed_when_all_is_current(monkeypatch):
    monkeypatch.setattr("synthct.flows.run.running.to_build", lambda project: ())
    monkeypatch.setattr("synthct.flows.clusters.opening.CONNECT_TIMEOUT", "2s")
    with socket.socket() as listens:
        listens.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{listens.getsockname()[1]}"
        with pytest.raises(MachineError, match=f"--cluster {address}: no scheduler answers"):
            run_project(None, RunOptions(cluster=address), None)
        listens.listen()
        assert run_project(None, RunOptions(cluster=address), None) == []
    assert run_project(None, RunOptions(cluster="local"), None) == []
