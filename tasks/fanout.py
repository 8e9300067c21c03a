"""Where the cases run: in this process, or on a Dask cluster. The only file that knows Dask."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

T = TypeVar("T")
R = TypeVar("R")

VARIABLE = "SYNTHCT_SCHEDULER"
"""Address of a Dask scheduler (``tcp://`` or ``tls://``); unset: the cases run in this process."""


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


class Fanout(Protocol):
    """Apply a module-level function to every item; yield (item, outcome) as they complete."""

    def __call__(
        self, function: Callable[[T], R], items: Sequence[T], *, label: Callable[[T], str]
    ) -> Iterator[tuple[T, Outcome[R]]]:
        """Run all items; an item's error is its outcome."""


def here(
    function: Callable[[T], R], items: Sequence[T], *, label: Callable[[T], str]
) -> Iterator[tuple[T, Outcome[R]]]:
    """One after another in this process."""
    for item in items:
        try:
            outcome = Outcome(value=function(item))
        except Exception as error:  # noqa: BLE001 - an item's error is a value here, not a stop
            outcome = Outcome(error=error)
        yield item, outcome


@dataclass(frozen=True)
class OnDask:
    """On the workers of a running Dask scheduler.

    Plain ``submit`` + ``as_completed`` + ``release``: a unit that kills its worker three times
    comes back as one ``KilledWorker`` while the others finish. When this process dies the
    scheduler forgets its futures.
    """

    address: str

    def __call__(
        self, function: Callable[[T], R], items: Sequence[T], *, label: Callable[[T], str]
    ) -> Iterator[tuple[T, Outcome[R]]]:
        """Yield as they complete."""
        from distributed import Client, as_completed

        if not items:
            return
        with Client(self.address, set_as_default=False, timeout="30s") as client:
            futures: dict[Any, T] = {}
            for number, item in enumerate(items):
                # A key names the item on the dashboard; pure=False: the unit store is the memory.
                key = f"{label(item)}-{number}-{os.getpid()}"
                futures[client.submit(function, item, key=key, pure=False, retries=1)] = item
            try:
                for future in as_completed(list(futures), loop=client.loop):
                    item = futures[future]
                    if future.status == "finished":
                        yield item, Outcome(value=future.result())
                    else:
                        error = future.exception()
                        yield item, Outcome(error=error or RuntimeError(f"{future.status}"))
                    future.release()
            finally:
                client.cancel(list(futures))


def from_environment() -> Fanout:
    """The fan-out that ``$SYNTHCT_SCHEDULER`` asks for."""
    address = os.environ.get(VARIABLE)
    return OnDask(address) if address else here
