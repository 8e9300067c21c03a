"""Another user of this machine reaches every loopback port: what the workers' ports answer them."""

from __future__ import annotations

import asyncio
import os
import stat
import urllib.error
import urllib.request

import psutil
import pytest

from synthct.data.environment import TLS
from synthct.data.errors import MachineError
from synthct.flows.clusters.authority import certificates_of_a_run, make_authority
from synthct.flows.clusters.opening import open_cluster
from synthct.tasks.pipeline import dask_client, fanout


def process_number(_: int) -> int:
    return os.getpid()


def listening() -> set[int]:
    """Ports at which this process and those that it started wait for connections."""
    family = [psutil.Process(), *psutil.Process().children(recursive=True)]
    return {
        each.laddr.port
        for process in family
        for each in process.net_connections(kind="inet")
        if each.status == psutil.CONN_LISTEN
    }


@pytest.fixture(scope="module", params=["local", "gpu"])
def opened(request):
    """One worker of each kind of cluster that starts its own; the GPU is pretended."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CUDA_VISIBLE_DEVICES", "0")
        patch.delenv(TLS, raising=False)
        root = request.config.rootpath
        others = listening()
        with open_cluster(request.param, workers=1, root=root, variables={}) as started:
            yield started, others
        assert not started.certificates.exists()
        assert TLS not in os.environ


@pytest.fixture
def cluster(opened):
    return opened[0]


@pytest.fixture
def ports(opened):
    """Ports of scheduler, nanny and worker that take commands, not the dashboards' pages.

    Servers that stood before the cluster are not its own: Prefect's, of earlier tests, for one.
    """
    found = [port for port in sorted(listening() - opened[1]) if not speaks_http(port)]
    assert len(found) >= 3, "scheduler, nanny and worker each listen"
    return found


def speaks_http(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
            return answer.status == 200
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False


async def command(address: str, **security) -> object:
    """Ask any Dask process who it is, which every one answers to whoever may connect."""
    from distributed.core import rpc

    async with rpc(address, timeout=3, **security) as stranger:
        return await stranger.identity()


def test_a_local_user_without_the_certificate_runs_code_as_the_owner(
    cluster, ports, tmp_path, monkeypatch
):
    ((_, outcome),) = fanout.OnDask(cluster.scheduler)(process_number, [1], label=str)
    assert outcome.result() != os.getpid()
    make_authority(tmp_path)
    monkeypatch.setenv(TLS, str(tmp_path))
    monkeypatch.setattr(dask_client, "_CONNECT", "2s")
    plain = cluster.scheduler.replace("tls://", "tcp://")
    for address in (plain, cluster.scheduler):
        with pytest.raises(MachineError, match="no Dask scheduler answers"):
            list(fanout.OnDask(address)(process_number, [1], label=str))
    theirs = {"connection_args": dask_client.security("tls://").get_connection_args("client")}
    for port in ports:
        for address, security in (
            (f"tcp://127.0.0.1:{port}", {}),
            (f"tls://127.0.0.1:{port}", theirs),
        ):
            with pytest.raises(OSError):  # noqa: PT011 - any way of being cut off is right
                asyncio.run(command(address, **security))


def test_the_key_of_a_run_is_readable_by_others_or_serves_another_run(cluster):
    folder = cluster.certificates
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "node.key").stat().st_mode) == 0o600
    assert not (folder / "ca.key").exists(), "with it anybody could make a certificate"
    with certificates_of_a_run() as other:
        assert (other / "ca.pem").read_bytes() != (folder / "ca.pem").read_bytes()
    assert not other.exists()


def test_a_foreign_web_page_listens_to_the_dashboard(cluster):
    """A browser sends the page's origin when it opens a web socket, and cannot be made to lie."""
    from tornado.httpclient import HTTPClientError, HTTPRequest
    from tornado.websocket import websocket_connect

    address = cluster.dashboard.removeprefix("http://").removesuffix("/status")

    async def open_socket(origin: str) -> None:
        url = f"ws://{address}/status/ws"
        socket = await websocket_connect(HTTPRequest(url, headers={"Origin": origin}))
        socket.close()

    with pytest.raises(HTTPClientError, match="403"):
        asyncio.run(open_socket("http://attacker.example"))
    asyncio.run(open_socket(f"http://{address}"))
    for page in ("info/main/workers.html", "json/identity.json"):
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"http://{address}/{page}", timeout=5)
