"""Worker processes on this machine."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path

from synthct.flows.clusters.started import (
    LOOPBACK,
    ONE_AT_A_TIME,
    SINGLE_THREADED,
    Cluster,
    keep_whole,
    look_at,
)
from synthct.flows.processes.children import environment


@contextlib.contextmanager
def open_local(workers: int | None, root: Path, variables: Mapping[str, str]) -> Iterator[Cluster]:
    """One worker a core, bound to loopback; they exit when this process is gone."""
    import dask
    from dask.system import CPU_COUNT
    from distributed import LocalCluster

    # In our own environment, for as long as the cluster lives: a worker inherits it when it starts
    # and when its nanny restarts it; what a nanny can set comes after Python has read PYTHONPATH.
    inherited = {**SINGLE_THREADED, **variables, "PYTHONPATH": str(root / "src")}
    with environment(inherited), dask.config.set(ONE_AT_A_TIME):
        cluster = LocalCluster(
            n_workers=workers or CPU_COUNT,
            threads_per_worker=1,
            processes=True,
            host=LOOPBACK,
            dashboard_address=f"{LOOPBACK}:0",
            silence_logs=logging.CRITICAL,  # a unit that fails is told once, by its stage
        )
        keep_whole(cluster)
        try:
            yield Cluster(
                cluster.scheduler_address,
                cluster.dashboard_link,
                look=lambda: look_at(cluster),
            )
        finally:
            cluster.close(timeout=5)
