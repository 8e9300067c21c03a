"""Where the cases of a stage run: the only file that starts a Dask cluster."""

from __future__ import annotations

import contextlib
import difflib
import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from data.faults import MachineFault, UsageFault
from flows.processes import environment

KINDS = ("here", "local")
"""What ``--cluster`` knows by name; an address of a running scheduler is the third way."""

_ADDRESS = re.compile(r"(tcp|tls)://[^\s/]+:\d+")
_LOOPBACK = "127.0.0.1"

PATIENCE = "10s"
"""For the scheduler of others to answer."""

SINGLE_THREADED = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": "1",
}
"""For the workers: several processes share the cores, and a unit sets its own threads anyway."""


@dataclass(frozen=True)
class Cluster:
    """A running scheduler, or none.

    Parameters
    ----------
    scheduler
        Its address; None: the cases run inside the stage's process.
    dashboard
        Page that shows what its workers do, if there is one.
    """

    scheduler: str | None = None
    dashboard: str | None = None


def check_kind(kind: str) -> str:
    """``kind`` if ``--cluster`` knows it."""
    if kind in KINDS or _ADDRESS.fullmatch(kind):
        return kind
    near = difflib.get_close_matches(kind, KINDS, n=1)
    raise UsageFault(
        "a cluster is `here`, `local`, or the tcp://HOST:PORT or tls://HOST:PORT of a scheduler",
        where="--cluster",
        got=repr(kind),
        remedy=f"did you mean {near[0]!r}?" if near else "",
        code="unknown-cluster",
    )


@contextlib.contextmanager
def open_cluster(
    kind: str, *, workers: int | None, root: Path, variables: Mapping[str, str]
) -> Iterator[Cluster]:
    """Have the cluster for the block; what we started ends with it.

    Parameters
    ----------
    kind
        See :func:`check_kind`.
    workers
        Processes of a ``local`` cluster; None: one a core.
    root
        Checkout whose code the workers run.
    variables
        More environment variables for the workers.
    """
    if check_kind(kind) == "here":
        yield Cluster()
    elif kind == "local":
        with _local(workers, root, variables) as cluster:
            yield cluster
    else:
        _require_scheduler(kind)
        yield Cluster(scheduler=kind)


@contextlib.contextmanager
def _local(workers: int | None, root: Path, variables: Mapping[str, str]) -> Iterator[Cluster]:
    """Worker processes on this machine, bound to loopback; they exit when this process is gone."""
    from dask.system import CPU_COUNT
    from distributed import LocalCluster

    # In our own environment, for as long as the cluster lives: a worker inherits it when it starts
    # and when its nanny restarts it; what a nanny can set comes after Python has read PYTHONPATH.
    with environment({**SINGLE_THREADED, **variables, "PYTHONPATH": str(root)}):
        cluster = LocalCluster(
            n_workers=workers or CPU_COUNT,
            threads_per_worker=1,
            processes=True,
            host=_LOOPBACK,
            dashboard_address=f"{_LOOPBACK}:0",
            silence_logs=logging.CRITICAL,  # a unit that fails is told once, by its stage,
        )
        try:
            yield Cluster(cluster.scheduler_address, cluster.dashboard_link)
        finally:
            cluster.close(timeout=5)


def _require_scheduler(address: str) -> None:
    from distributed import Client

    try:
        Client(address, timeout=PATIENCE, set_as_default=False).close()
    except OSError as error:
        raise MachineFault(
            "a Dask scheduler answers at the address that you gave",
            where=f"--cluster {address}",
            got=type(error).__name__,
            remedy="start it with `dask scheduler`, or use --cluster local",
            code="scheduler-not-up",
        ) from error
