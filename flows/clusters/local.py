"""``--cluster local``: worker processes on this machine."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path

from synthct.flows.clusters.started import Cluster, enclosed, kept_whole


@contextlib.contextmanager
def open_local(workers: int | None, root: Path, variables: Mapping[str, str]) -> Iterator[Cluster]:
    """Start one worker per core, bound to loopback; they exit when this process ends.

    Only holders of this run's certificates may use it: see
    :func:`synthct.flows.clusters.started.enclosed`.
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
