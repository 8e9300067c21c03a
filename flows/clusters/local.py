"""``--cluster local``: worker processes on this machine."""

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
    kept_whole,
)
from synthct.flows.processes.children import environment


@contextlib.contextmanager
def open_local(workers: int | None, root: Path, variables: Mapping[str, str]) -> Iterator[Cluster]:
    """Start one worker per core, bound to loopback; they exit when this process ends."""
    import dask
    from dask.system import CPU_COUNT
    from distributed import LocalCluster

    # Set in this process while the cluster lives, because workers inherit it at every (re)start.
    # A nanny could only set variables after Python has read PYTHONPATH.
    inherited = {**SINGLE_THREADED, **variables, "PYTHONPATH": str(root / "src")}
    with environment(inherited), dask.config.set(ONE_AT_A_TIME):
        cluster = LocalCluster(
            n_workers=workers or CPU_COUNT,
            threads_per_worker=1,
            processes=True,
            host=LOOPBACK,
            dashboard_address=f"{LOOPBACK}:0",
            silence_logs=logging.CRITICAL,  # the stage reports a failed unit, once
        )
        with kept_whole(cluster) as opened:
            yield opened
