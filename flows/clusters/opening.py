"""Open the cluster that ``--cluster`` names: where the cases of a stage are computed."""

from __future__ import annotations

import contextlib
import re
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path

from synthct.data.errors import MachineError, UsageError, nearest
from synthct.flows.clusters.started import Cluster, facts_of
from synthct.tasks.pipeline import dask_client

KINDS = ("here", "local", "gpu", "slurm", "kubernetes")
"""Named kinds of ``--cluster``; the address of a running scheduler is accepted as well."""

CONNECT_TIMEOUT = "10s"
"""Time within which a running scheduler must answer."""

_REMEDY = "start it with `dask scheduler`, or use --cluster local"

_ADDRESS = re.compile(r"(tcp|tls)://[^\s/]+:\d+")

__all__ = ["KINDS", "Cluster", "check_answers", "check_kind", "open_cluster"]


def check_kind(kind: str) -> str:
    """Return ``kind`` if it is a valid value of ``--cluster``.

    Raises
    ------
    UsageError
        ``unknown-cluster``.
    """
    if kind in KINDS or _ADDRESS.fullmatch(kind):
        return kind
    near = nearest(kind, KINDS)
    raise UsageError(
        f"there is no cluster {kind!r}",
        rule=f"a cluster is one of {', '.join(KINDS)}, or the tcp://HOST:PORT or tls://HOST:PORT "
        "of a scheduler",
        where="--cluster",
        remedy=f"did you mean {near!r}?" if near else "",
        code="unknown-cluster",
    )


def check_answers(kind: str) -> None:
    """Check that something listens at the address of a scheduler; other kinds are started anew.

    A run that has nothing to do opens no cluster, but a wrong address is still a mistake.

    Raises
    ------
    MachineError
        ``scheduler-not-up``.
    """
    if kind in KINDS:
        return
    host, _, port = kind.partition("://")[2].rpartition(":")
    timeout_s = float(CONNECT_TIMEOUT.removesuffix("s"))
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout_s).close()
    except OSError as error:
        raise MachineError(
            f"no scheduler answers: {error.strerror or error}",
            where=f"--cluster {kind}",
            remedy=_REMEDY,
            code="scheduler-not-up",
        ) from error


@contextlib.contextmanager
def open_cluster(
    kind: str, *, workers: int | None, root: Path, variables: Mapping[str, str]
) -> Iterator[Cluster]:
    """Start the cluster, or connect to it, for the block; what was started ends with the block.

    Parameters
    ----------
    kind
        See :func:`check_kind`.
    workers
        Processes of a ``local`` or ``gpu`` cluster; None: one per core.
    root
        Checkout whose code the workers run.
    variables
        Additional environment variables of the workers.
    """
    with _opened(check_kind(kind), workers, root, variables) as cluster:
        yield cluster


def _opened(
    kind: str, workers: int | None, root: Path, variables: Mapping[str, str]
) -> contextlib.AbstractContextManager[Cluster]:
    if kind == "here":
        return contextlib.nullcontext(Cluster())
    if kind == "local":
        from synthct.flows.clusters.started import open_local

        return open_local(workers, root, variables)
    if kind == "gpu":
        from synthct.flows.clusters.gpu import open_gpu

        return open_gpu(workers, root, variables)
    if kind == "slurm":
        from synthct.flows.clusters.slurm import open_slurm

        return open_slurm(root, variables)
    if kind == "kubernetes":
        from synthct.flows.clusters.kubernetes import open_kubernetes

        return open_kubernetes(root, variables)
    return open_address(kind)


@contextlib.contextmanager
def open_address(address: str) -> Iterator[Cluster]:
    """Connect to a Dask scheduler (over TLS for ``tls://``) and leave it running afterwards.

    Raises
    ------
    MachineError
        ``scheduler-not-up``: no scheduler answers within `CONNECT_TIMEOUT`.
    """
    with contextlib.ExitStack() as stack:
        try:
            client = stack.enter_context(dask_client.connect(address, CONNECT_TIMEOUT))
        except MachineError as error:
            raise MachineError(
                error.problem,
                rule=error.rule,
                where=f"--cluster {address}",
                remedy=_REMEDY,
                code=error.code,
            ) from error
        workers = client.scheduler_info()["workers"]
        yield Cluster(
            address,
            client.dashboard_link or None,
            gpus=any(each.get("resources", {}).get("GPU") for each in workers.values()),
            workers=lambda: facts_of(client.scheduler_info()["workers"]),
        )
