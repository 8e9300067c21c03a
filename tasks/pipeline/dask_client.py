"""A client of a Dask scheduler, and one item attempted on a worker: all that we use of Dask."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from synthct.data.errors import MachineError, UsageError
from synthct.data.layout import default_root
from synthct.tasks.pipeline import events

R = TypeVar("R")

TLS = "SYNTHCT_TLS"
"""Folder with ``ca.pem``, ``node.pem`` and ``node.key`` for ``tls://`` schedulers; unset:
``.synthct/tls`` of the checkout, whichever of its worktrees asks."""

GPU_UNITS = "SYNTHCT_GPU_UNITS"
"""Set: workers declare the resource ``GPU``, and an item that is ``gpu`` takes one of them."""

_CONNECT = "30s"


@dataclass(frozen=True)
class Outcome(Generic[R]):
    """What became of one item: a value or an error."""

    value: R | None = None
    error: Exception | None = None

    def result(self) -> R:
        """The value; raises the error if there is one."""
        if self.error is not None:
            raise self.error
        return self.value  # type: ignore[return-value]


@contextlib.contextmanager
def connect(address: str, timeout: str | None = None) -> Iterator[Any]:
    """A client of the scheduler, over TLS where the address says so."""
    from distributed import Client

    try:
        client = Client(
            address, security=security(address), set_as_default=False, timeout=timeout or _CONNECT
        )
    except OSError as error:
        raise scheduler_gone(address, type(error).__name__) from error
    try:
        yield client
    finally:
        client.close(timeout=5)


def scheduler_gone(address: str, got: str) -> MachineError:
    """The fault of a scheduler that does not answer, or no longer."""
    return MachineError(
        "",
        problem=f"no Dask scheduler answers: {got}",
        where=address,
        remedy="start it (`dask scheduler`) and run the same command again: "
        "finished units are kept",
        code="scheduler-not-up",
    )


def tls_folder() -> Path:
    """Where the certificates lie."""
    return Path(os.environ.get(TLS) or default_root() / "tls").absolute()


def security(address: str) -> Any:
    """Certificates for a ``tls://`` address, from :func:`tls_folder`; else None."""
    if not address.startswith("tls://"):
        return None
    from distributed import Security

    folder = tls_folder()
    for name in ("ca.pem", "node.pem", "node.key"):
        if not (folder / name).is_file():
            raise UsageError(
                "a tls:// scheduler needs ca.pem, node.pem and node.key",
                problem=f"there is no {name}",
                where=f"{TLS}={folder}",
                remedy="make them once for all: `python -m synthct.flows.clusters.authority DIR`",
                code="no-certificates",
            )
    return Security(
        require_encryption=True,
        tls_ca_file=str(folder / "ca.pem"),
        **{
            f"tls_{role}_{part}": str(folder / file)
            for role in ("client", "scheduler", "worker")
            for part, file in (("cert", "node.pem"), ("key", "node.key"))
        },
    )


@dataclass(frozen=True)
class Landed:
    """What comes back from a worker: small, and never an exception by itself."""

    value: Any
    error: Exception | None
    seconds: float
    worker: str


def attempt(function: Callable[[Any], Any], item: Any, topic: str, key: str) -> None:
    """Run one item on a worker and tell the outcome, and its events where the file is far away.

    The outcome is small and travels as a message, ahead of Dask's own word that the task is done:
    a value that stayed in the worker's memory would be lost with a neighbour that kills it.
    """
    from distributed import get_worker
    from distributed.protocol.pickle import dumps

    worker = get_worker()
    far = (
        contextlib.nullcontext()
        if events.reachable()
        else events.diverted(lambda line: worker.log_event(topic, line))
    )
    started_s = time.monotonic()
    value, error = None, None
    with far:
        try:
            value = function(item)
        except Exception as raised:  # noqa: BLE001 - an item's error is a value here, not a stop
            error = raised
    landed = Landed(value, error, time.monotonic() - started_s, worker.address)
    worker.log_event(topic, (key, dumps(landed)))


def unpacked(landed: bytes) -> Landed:
    """What :func:`attempt` told; Dask's own messages are pickled the same way."""
    from distributed.protocol.pickle import loads

    return loads(landed)  # type: ignore[no-any-return]
