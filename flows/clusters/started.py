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
"""For the workers: several processes share the cores, and a unit sets its own threads anyway."""

LOOPBACK = "127.0.0.1"

ONE_AT_A_TIME = {
    "distributed.scheduler.worker-saturation": 1.0,
    "distributed.scheduler.allowed-failures": 2,
    "distributed.worker.daemon": False,
    "distributed.deploy.lost-worker-timeout": "10s",
}
"""Units wait at the scheduler, not on a worker behind another, once there are more than two a
thread; of fewer, Dask hands out all at once, and one that waits is lost (and blamed) with its
worker though it never began. A unit whose third worker died is set aside and then tried alone,
which clears it (see ``tasks/pipeline/dispatch.py``). Workers may start processes. A worker that
its nanny started again is back long before it counts as lost."""

_LOOK_EVERY_S = 2.0


@dataclass(frozen=True)
class Cluster:
    """A running scheduler, or none.

    Parameters
    ----------
    scheduler
        Its address; None: the cases run inside the stage's process.
    dashboard
        Page that shows what its workers do, if there is one.
    gpus
        Whether its workers declare the resource ``GPU``.
    look
        Facts about the workers right now, by name (see :func:`facts_of`).
    """

    scheduler: str | None = None
    dashboard: str | None = None
    gpus: bool = False
    look: Callable[[], list[dict[str, Any]]] = field(default=list)


def look_at(cluster: Any) -> list[dict[str, Any]]:
    """Facts of a cluster that we started; its own copy of them lacks what heartbeats tell."""
    return facts_of(cluster.sync(cluster.scheduler_comm.identity)["workers"])


def keep_whole(cluster: Any) -> None:
    """Replace workers of a ``SpecCluster`` that nobody else brings back, as long as it lives.

    A nanny starts its worker again, and gives up for good when that is killed while it starts.
    """
    cluster.loop.add_callback(_keep_whole, cluster)


async def _keep_whole(cluster: Any) -> None:
    from distributed.core import Status

    while cluster.status is Status.running:
        forget_failed(cluster)
        if cluster.plan != cluster.requested:
            with contextlib.suppress(Exception):  # one died again: the next look tries again
                await cluster
        await asyncio.sleep(_LOOK_EVERY_S)


def forget_failed(cluster: Any) -> None:
    """Let go of nannies whose first worker died before the scheduler knew it.

    Dask takes away a nanny when the scheduler has lost its worker. One that it never had would
    count as a worker for ever; of a cluster whose workers all went so, nothing would be left.
    """
    from distributed.core import Status

    for name, nanny in list(cluster.workers.items()):
        if nanny.status in (Status.failed, Status.closed):
            del cluster.workers[name]


@contextlib.contextmanager
def adapted(cluster: Any, *, minimum: int, maximum: int, gpus: bool) -> Iterator[Cluster]:
    """As many workers as there is work for, within bounds; the cluster ends with the block."""
    try:
        cluster.adapt(minimum=minimum, maximum=maximum)
        yield Cluster(
            cluster.scheduler_address,
            cluster.dashboard_link,
            gpus=gpus,
            look=lambda: look_at(cluster),
        )
    finally:
        cluster.close(timeout=30)


def facts_of(workers: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What Dask's scheduler knows of its workers, as plain numbers in bytes and shares."""
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
