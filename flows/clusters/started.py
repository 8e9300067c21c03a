"""A running scheduler, and the state of its workers."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from synthct.data.environment import TLS
from synthct.flows.clusters.authority import certificates_of_a_run
from synthct.flows.processes.children import environment
from synthct.tasks.pipeline import dask_client

SINGLE_THREADED = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": "1",
}
"""Environment of the workers: several processes share the cores. A unit of work that may use more
threads sets them itself."""

LOOPBACK = "127.0.0.1"

ONE_AT_A_TIME = {
    "distributed.scheduler.worker-saturation": 1.0,
    "distributed.scheduler.allowed-failures": 2,
    "distributed.worker.daemon": False,
    "distributed.deploy.lost-worker-timeout": "10s",
    "distributed.worker.profile.enabled": False,
}
"""Dask settings that keep a dying worker from taking other units of work with it.

Saturation 1.0: units wait at the scheduler instead of queueing on a worker, once there are more
than two per thread. (Of fewer, Dask hands out all at once; one that waits is then lost, and blamed,
with its worker although it never began.) Allowed failures 2: a unit whose third worker died is
excluded from the parallel run and then computed alone, which clears it (see
``tasks/pipeline/dispatch.py``). Daemon false: workers may start processes. Lost-worker timeout: a
worker that its nanny restarts is back before it counts as lost. Profile: Dask samples the stack a
hundred times a second, and the deep stacks of an ONNX export then keep the worker from answering
the scheduler.
"""

_CHECK_EVERY_S = 2.0


@dataclass(frozen=True)
class Cluster:
    """A running Dask scheduler, or none.

    Parameters
    ----------
    scheduler
        Its address; None: the cases run inside the stage's process.
    dashboard
        URL of Dask's dashboard, if there is one.
    certificates
        Folder of the certificates that were made for this cluster; None: those of the site.
    gpus
        Whether its workers declare the resource ``GPU``.
    workers
        Returns the current state of the workers (see :func:`facts_of`).
    """

    scheduler: str | None = None
    dashboard: str | None = None
    certificates: Path | None = None
    gpus: bool = False
    workers: Callable[[], list[dict[str, Any]]] = field(default=list)


@dataclass(frozen=True)
class Enclosure:
    """Settings for Dask to start a cluster that only this run can use.

    Parameters
    ----------
    folder
        Of the run's certificates.
    secured
        Host, protocol and certificates of scheduler and workers.
    dashboard
        Address of the dashboard.
    """

    folder: Path
    secured: Mapping[str, Any]
    dashboard: str


@contextlib.contextmanager
def enclosed(root: Path, variables: Mapping[str, str]) -> Iterator[Enclosure]:
    """Certificates, environment and settings of a cluster on this machine, for the block.

    Scheduler and workers accept only holders of this run's certificates, because every user of the
    machine can reach loopback. During the block ``$SYNTHCT_TLS`` names their folder.
    """
    import dask

    # Set in this process while the cluster lives, because workers inherit it at every (re)start.
    # A nanny could only set variables after Python has read PYTHONPATH.
    inherited = {**SINGLE_THREADED, **variables, "PYTHONPATH": str(root / "src")}
    with (
        certificates_of_a_run() as folder,
        environment(inherited | {TLS: str(folder)}),
        dask.config.set(ONE_AT_A_TIME),
        private_dashboard() as dashboard,
    ):
        security = dask_client.security("tls://")
        secured = {"host": LOOPBACK, "protocol": "tls", "security": security}
        yield Enclosure(folder, secured, dashboard)


@contextlib.contextmanager
def private_dashboard() -> Iterator[str]:
    """Address for a dashboard on loopback that only its own pages may read; set for the block.

    By default any web page that a browser on this machine has open may open the dashboard's web
    socket, and could read its other pages under a name of its own (DNS rebinding). Those pages,
    which show logs and call stacks, are left out.
    """
    import dask

    with socket.socket() as probe:  # the port is part of the origin, so it is chosen beforehand
        probe.bind((LOOPBACK, 0))
        port = probe.getsockname()[1]
    settings = {
        "distributed.scheduler.dashboard.bokeh-application.allow_websocket_origin": [
            f"{LOOPBACK}:{port}",
            f"localhost:{port}",
        ],
        "distributed.scheduler.http.routes": [
            "distributed.http.scheduler.prometheus",
            "distributed.http.health",
            "distributed.http.statics",
        ],
    }
    with dask.config.set(settings):
        yield f"{LOOPBACK}:{port}"


def worker_states(cluster: Any) -> list[dict[str, Any]]:
    """State of the workers of a cluster that this process started.

    Asked of the scheduler: the cluster object's own copy lacks what heartbeats report.
    """
    return facts_of(cluster.sync(cluster.scheduler_comm.identity)["workers"])


async def _keep_whole(cluster: Any) -> None:
    from distributed.core import Status

    while cluster.status is Status.running:
        forget_failed(cluster)
        if cluster.plan != cluster.requested:
            with contextlib.suppress(Exception):  # one died again: retried in the next round
                await cluster
        await asyncio.sleep(_CHECK_EVERY_S)


def forget_failed(cluster: Any) -> None:
    """Remove nannies whose first worker died before it reached the scheduler.

    Dask removes a nanny when the scheduler loses its worker. A worker that never registered would
    count as running forever, and a cluster that loses all its workers this way would stay empty.
    """
    from distributed.core import Status

    for name, nanny in list(cluster.workers.items()):
        if nanny.status in (Status.failed, Status.closed):
            del cluster.workers[name]


def close(cluster: Any, timeout_s: float) -> None:
    """Close a cluster whose work is done; one that is slow to end is reported, not raised.

    Every result is stored by then. Local workers end with this process at the latest.
    """
    try:
        cluster.close(timeout=timeout_s)
    except Exception as error:  # noqa: BLE001 - whatever it is, the results are complete
        sys.stderr.write(
            f"note: the cluster did not close within {timeout_s:g} s "
            f"({type(error).__name__}); results are complete\n"
        )


@contextlib.contextmanager
def kept_whole(
    cluster: Any, *, certificates: Path | None = None, gpus: bool = False
) -> Iterator[Cluster]:
    """Replace lost workers of a ``SpecCluster`` while it is in use; close it afterwards.

    A nanny restarts its worker, but gives up for good when the worker is killed during its start.
    """
    cluster.loop.add_callback(_keep_whole, cluster)
    try:
        yield _cluster(cluster, gpus, certificates)
    finally:
        close(cluster, 5)


@contextlib.contextmanager
def adapted(cluster: Any, *, minimum: int, maximum: int, gpus: bool) -> Iterator[Cluster]:
    """Scale the workers with the amount of work, within bounds; close the cluster afterwards."""
    try:
        cluster.adapt(minimum=minimum, maximum=maximum)
        yield _cluster(cluster, gpus)
    finally:
        close(cluster, 30)


def _cluster(cluster: Any, gpus: bool, certificates: Path | None = None) -> Cluster:
    return Cluster(
        cluster.scheduler_address,
        cluster.dashboard_link,
        certificates=certificates,
        gpus=gpus,
        workers=lambda: worker_states(cluster),
    )


def facts_of(workers: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """State of each worker as Dask's scheduler reports it, as plain numbers."""
    return [
        {
            "name": str(each.get("name", address)),
            "address": address,
            "threads": int(each.get("nthreads", 1)),
            "gpus": float(each.get("resources", {}).get("GPU", 0)),
            "memory_bytes": int(each.get("metrics", {}).get("memory", 0)),
            "memory_limit_bytes": int(each.get("memory_limit") or 0),
            "spilled_bytes": int(
                (each.get("metrics", {}).get("spilled_bytes") or {}).get("disk", 0)
            ),
            "cpu_percent": float(each.get("metrics", {}).get("cpu", 0.0)),
            "executing": int(each.get("metrics", {}).get("executing", 0)),
            "ready": int(each.get("metrics", {}).get("ready", 0)),
        }
        for address, each in sorted(workers.items(), key=lambda item: str(item[1].get("name")))
    ]


@contextlib.contextmanager
def open_local(workers: int | None, root: Path, variables: Mapping[str, str]) -> Iterator[Cluster]:
    """Start one worker per core, bound to loopback; they exit when this process ends.

    Only holders of this run's certificates may use it: see :func:`enclosed`.
    """
    from dask.system import CPU_COUNT
    from distributed import LocalCluster

    with enclosed(root, variables) as private:
        cluster = LocalCluster(
            n_workers=workers or CPU_COUNT,
            threads_per_worker=1,
            processes=True,
            dashboard_address=private.dashboard,
            silence_logs=logging.CRITICAL,  # the stage reports a failed unit, once
            **private.secured,
        )
        with kept_whole(cluster, certificates=private.folder) as opened:
            yield opened
