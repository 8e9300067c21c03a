"""Worker processes on this machine."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from flows.clusters.started import LOOPBACK, ONE_AT_A_TIME, SINGLE_THREADED, Cluster, look_at
from flows.processes import environment

_LOOK_EVERY_S = 2.0

_LOST_AFTER = "10s"
"""A worker that was restarted by its nanny is back long before."""


@contextlib.contextmanager
def open_local(workers: int | None, root: Path, variables: Mapping[str, str]) -> Iterator[Cluster]:
    """One worker a core, bound to loopback; they exit when this process is gone."""
    import dask
    from dask.system import CPU_COUNT
    from distributed import LocalCluster

    # In our own environment, for as long as the cluster lives: a worker inherits it when it starts
    # and when its nanny restarts it; what a nanny can set comes after Python has read PYTHONPATH.
    inherited = {**SINGLE_THREADED, **variables, "PYTHONPATH": str(root)}
    healing = {"distributed.deploy.lost-worker-timeout": _LOST_AFTER}
    with environment(inherited), dask.config.set(ONE_AT_A_TIME | healing):
        cluster = LocalCluster(
            n_workers=workers or CPU_COUNT,
            threads_per_worker=1,
            processes=True,
            host=LOOPBACK,
            dashboard_address=f"{LOOPBACK}:0",
            silence_logs=logging.CRITICAL,  # a unit that fails is told once, by its stage
        )
        # A nanny whose worker is killed while it starts gives up for good: replace it.
        count = len(cluster.worker_spec)
        cluster.adapt(minimum=count, maximum=count, interval="2s")
        cluster.loop.add_callback(_forget_failed_for_ever, cluster)
        try:
            yield Cluster(
                cluster.scheduler_address,
                cluster.dashboard_link,
                look=lambda: look_at(cluster),
            )
        finally:
            cluster.close(timeout=5)


async def _forget_failed_for_ever(cluster: Any) -> None:
    """As long as the cluster lives."""
    from distributed.core import Status

    while cluster.status is Status.running:
        forget_failed(cluster)
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
