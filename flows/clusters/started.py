"""A running scheduler, and what its workers are doing."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

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
}
"""Dask settings that keep a dying worker from taking other units of work with it.

Saturation 1.0: units wait at the scheduler instead of queueing on a worker, once there are more
than two per thread. (Of fewer, Dask hands out all at once; one that waits is then lost, and blamed,
with its worker although it never began.) Allowed failures 2: a unit whose third worker died is
excluded from the parallel run and then computed alone, which clears it (see
``tasks/pipeline/dispatch.py``). Daemon false: workers may start processes. Lost-worker timeout: a
worker that its nanny restarts is back before it counts as lost."""

_LOOK_EVERY_S = 2.0


@dataclass(frozen=True)
class Cluster:
    """A running Dask scheduler, or none.

    Parameters
    ----------
    scheduler
        Its address; None: the cases run inside the stage's process.
    dashboard
        URL of Dask's dashboard, if there is one.
    gpus
        Whether its workers declare the resource ``GPU``.
    look
        Returns the current state of the workers (see :func:`facts_of`).
    """

    scheduler: str | None = None
    dashboard: str | None = None
    gpus: bool = False
    look: Callable[[], list[dict[str, Any]]] = field(default=list)


def look_at(cluster: Any) -> list[dict[str, Any]]:
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
        await asyncio.sleep(_LOOK_EVERY_S)


def forget_failed(cluster: Any) -> None:
    """Remove nannies whose first worker died before it reached the scheduler.

    Dask removes a nanny when the scheduler loses its worker. A worker that never registered would
    count as running forever, and a cluster that loses all its workers this way would stay empty.
    """
    from distributed.core import Status

    for name, nanny in list(cluster.workers.items()):
        if nanny.status in (Status.failed, Status.closed):
            del cluster.workers[name]


@contextlib.contextmanager
def kept_whole(cluster: Any, *, gpus: bool = False) -> Iterator[Cluster]:
    """Replace lost workers of a ``SpecCluster`` while it is in use; close it afterwards.

    A nanny restarts its worker, but gives up for good when the worker is killed during its start.
    """
    cluster.loop.add_callback(_keep_whole, cluster)
    try:
        yield _cluster(cluster, gpus)
    finally:
        cluster.close(timeout=5)


@contextlib.contextmanager
def adapted(cluster: Any, *, minimum: int, maximum: int, gpus: bool) -> Iterator[Cluster]:
    """Scale the workers with the amount of work, within bounds; close the cluster afterwards."""
    try:
        cluster.adapt(minimum=minimum, maximum=maximum)
        yield _cluster(cluster, gpus)
    finally:
        cluster.close(timeout=30)


def _cluster(cluster: Any, gpus: bool) -> Cluster:
    return Cluster(
        cluster.scheduler_address,
        cluster.dashboard_link,
        gpus=gpus,
        look=lambda: look_at(cluster),
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
