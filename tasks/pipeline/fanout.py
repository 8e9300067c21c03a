"""Where the units of a stage run: in this process, or on a Dask cluster."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from synthct.data.environment import SCHEDULER
from synthct.tasks.pipeline.dask_client import Outcome, connect
from synthct.tasks.pipeline.dispatch import Dispatch
from synthct.tasks.pipeline.retry_policy import Pace, RetryPolicy

T = TypeVar("T")
R = TypeVar("R")


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
    """Run items on the workers of a running Dask scheduler.

    A unit whose machine fails is retried after a pause and, where possible, on another worker. A
    unit whose workers keep dying is set aside, run alone when all others are done, and reported
    if its worker dies even then. When this process dies the scheduler drops its futures.

    Parameters
    ----------
    address
        Address of the scheduler.
    patience
        How often and how soon a unit is retried.
    pace
        When a running unit is reported as slow.
    """

    address: str
    patience: RetryPolicy = field(default_factory=RetryPolicy)
    pace: Callable[[], Pace] = Pace

    def __call__(
        self, function: Callable[[T], R], items: Sequence[T], *, label: Callable[[T], str]
    ) -> Iterator[tuple[T, Outcome[R]]]:
        """Yield (item, outcome) as the items complete."""
        if not items:
            return
        with connect(self.address) as client:
            sent = Dispatch(client, function, label, self.patience, self.pace())
            yield from sent.outcomes(items)


def from_environment() -> Fanout:
    """The workers of ``$SYNTHCT_SCHEDULER`` if it is set, else this process."""
    address = os.environ.get(SCHEDULER)
    return OnDask(address) if address else here
