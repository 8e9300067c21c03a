"""``--cluster local``: worker processes on this machine."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path

from synthct.data.environment import TLS
from synthct.flows.clusters.authority import certificates_of_a_run
from synthct.flows.clusters.started import (
    LOOPBACK,
    ONE_AT_A_TIME,
    SINGLE_THREADED,
    Cluster,
    kept_whole,
    private_dashboard,
)
from synthct.flows.processes.children import environment
from synthct.tasks.pipeline import dask_client


@contextlib.contextmanager
def open_local(workers: int | None, root: Path, variables: Mapping[str, str]) -> Iterator[Cluster]:
    """Start one worker per core, bound to loopback; they exit when this process ends.

    Scheduler and workers accept only holders of this run's certificates, because every user of the
    machine can reach loopback. During the block ``$SYNTHCT_TLS`` names their folder.
    """
    import dask
    from dask.system import CPU_COUNT
    from distributed import LocalCluster

    # Set in this process while the cluster lives, because workers inherit it at every (re)start.
    # A nanny could only set variables after Python has read PYTHONPATH.
    inherited = {**SINGLE_THREADED, **variables, "PYTHONPATH": str(root / "src")}
    with (
        certificates_of_a_run() as folder,
        environment(inherited | {TLS: str(folder)}),
        dask.config.set(ONE_AT_A_TIME),
        private_dashboard() as dashboard,
    ):
        cluster = LocalCluster(
            n_workers=workers or CPU_COUNT,
            threads_per_worker=1,
            processes=True,
            host=LOOPBACK,
            protocol="tls",
            security=dask_client.security("tls://"),
            dashboard_address=dashboard,
            silence_logs=logging.CRITICAL,  # the stage reports a failed unit, once
        )
        with kept_whole(cluster, certificates=folder) as opened:
            yield opened
