"""A client of a Dask scheduler, and one item run on a worker: the only module that imports Dask."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from synthct.data.environment import TLS
from synthct.data.errors import MachineError, UsageError
from synthct.data.layout import default_root
from synthct.tasks.pipeline import events

R = TypeVar("R")


_CONNECT = "30s"


@dataclass(frozen=True)
class Outcome(Generic[R]):
    """Result of one item: a value or an error."""

    value: R | None = None
    error: Exception | None = None

    def result(self) -> R:
        """The value; raises the error if there is one."""
        if self.error is not None:
            raise self.error
        return self.value  # type: ignore[return-value]


@contextlib.contextmanager
def connect(address: str, timeout: str | None = None) -> Iterator[Any]:
    """A client of the scheduler, over TLS for a ``tls://`` address."""
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


def scheduler_gone(address: str, reason: str) -> MachineError:
    """The error of a scheduler that does not answer, or stopped answering."""
    return MachineError(
        f"no Dask scheduler answers: {reason}",
        where=address,
        remedy="start it (`dask scheduler`) and run the same command again: "
        "finished results are kept",
        code="scheduler-not-up",
    )


def tls_folder() -> Path:
    """Folder of the certificates: ``$SYNTHCT_TLS``, else ``.synthct/tls`` of the checkout."""
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
                f"there is no {name}",
                rule="a tls:// scheduler needs ca.pem, node.pem and node.key",
                where=f"{TLS}={folder}",
                remedy="make them once: `python -m synthct.flows.clusters.authority DIR`",
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
class AttemptMessage:
    """Message of a worker with the outcome of an item; an exception is sent as a value."""

    value: Any
    error: Exception | None
    seconds: float
    worker: str


def attempt(function: Callable[[Any], Any], item: Any, topic: str, key: str) -> None:
    """Run one item on a worker and send the outcome, and its events if the file is out of reach.

    The outcome is sent as a message before Dask marks the task as done. A value that stayed in
    the worker's memory would be lost if another item killed the worker.
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
    message = AttemptMessage(value, error, time.monotonic() - started_s, worker.address)
    worker.log_event(topic, (key, dumps(message)))


def unpacked(message: bytes) -> AttemptMessage:
    """The message of :func:`attempt`; Dask pickles its own messages in the same way."""
    from distributed.protocol.pickle import loads

    return loads(message)  # type: ignore[no-any-return]
