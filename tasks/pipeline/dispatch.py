"""Runs the units of one stage through a Dask client: retries, isolates and reports them."""

from __future__ import annotations

import contextlib
import heapq
import os
import queue
import secrets
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from synthct.data.environment import GPU_UNITS
from synthct.data.errors import MachineError
from synthct.tasks.pipeline import events
from synthct.tasks.pipeline.dask_client import (
    AttemptMessage,
    Outcome,
    attempt,
    scheduler_gone,
    unpacked,
)
from synthct.tasks.pipeline.retry_policy import Pace, RetryPolicy

T = TypeVar("T")
R = TypeVar("R")

_TICK_S = 1.0
_CHECK_EVERY_S = 5.0


@dataclass
class _Attempt(Generic[T]):
    """One submitted item."""

    item: T
    name: str
    number: int
    gpu: bool
    count: int = 0
    alone: bool = False
    avoid: str = ""

    @property
    def fields(self) -> dict[str, str]:
        """Stage and unit, for events."""
        stage, _, unit = self.name.rpartition("/")
        return {"stage": stage, "unit": unit}


@dataclass
class Dispatch(Generic[T, R]):
    """All items of one stage on one client."""

    client: Any
    function: Callable[[T], R]
    label: Callable[[T], str]
    patience: RetryPolicy
    pace: Pace
    topic: str = field(default_factory=lambda: f"synthct-{secrets.token_hex(6)}")
    messages: queue.SimpleQueue[Any] = field(default_factory=queue.SimpleQueue)
    running: dict[str, tuple[Any, _Attempt[T]]] = field(default_factory=dict)
    waiting: list[tuple[float, int, _Attempt[T]]] = field(default_factory=list)
    isolated: deque[_Attempt[T]] = field(default_factory=deque)
    checked_s: float = field(default_factory=time.monotonic)
    stage: str = ""
    gpus: bool = False
    at_once: int = 0

    def outcomes(self, items: Sequence[T]) -> Iterator[tuple[T, Outcome[R]]]:
        """Submit all items; yield each once with its outcome."""
        self.client.subscribe_topic(self.topic, self._on_event)
        on_gpu = bool(os.environ.get(GPU_UNITS))
        self.stage = self.label(items[0]).rpartition("/")[0]
        self.gpus = on_gpu and all(getattr(item, "gpu", False) for item in items)
        self._count_workers(self.client.scheduler_info()["workers"])
        try:
            for number, item in enumerate(items):
                gpu = on_gpu and bool(getattr(item, "gpu", False))
                self._launch(_Attempt(item, self.label(item), number, gpu))
            while self.running or self.waiting or self.isolated:
                self._launch_due()
                with contextlib.suppress(queue.Empty):
                    yield from self._handle(*self.messages.get(timeout=_TICK_S))
                self._check()
        finally:
            self.client.cancel([future for future, _ in self.running.values()])

    def _on_event(self, event: tuple[float, Any]) -> None:
        """A worker's message: an event line, or the outcome of a unit."""
        if isinstance(event[1], str):
            events.append(event[1])
        else:
            self.messages.put(event[1])

    def _launch(self, each: _Attempt[T]) -> None:
        each.count += 1
        # The key names the item on the dashboard; pure=False: the result cache holds results.
        key = f"{each.name}-{each.number}-{each.count}-{self.topic}"
        others = self._others(each.avoid)
        future = self.client.submit(
            attempt, self.function, each.item, self.topic, key, key=key, pure=False,
            resources={"GPU": 1} if each.gpu else None,
            workers=others or None, allow_other_workers=bool(others),
        )  # fmt: skip
        self.running[key] = future, each
        future.add_done_callback(lambda done: self.messages.put((done.key, None)))

    def _others(self, avoid: str) -> list[str]:
        if not avoid:
            return []
        return [address for address in self.client.scheduler_info()["workers"] if address != avoid]

    def _launch_due(self) -> None:
        while self.waiting and self.waiting[0][0] <= time.monotonic():
            self._launch(heapq.heappop(self.waiting)[2])
        if self.isolated and not self.running and not self.waiting:
            self._launch(self.isolated.popleft())

    def _handle(self, key: str, message: bytes | None) -> Iterator[tuple[T, Outcome[R]]]:
        """A worker has sent its outcome (``message``), or Dask reports that the task has ended."""
        if key not in self.running:
            return  # handled before
        future, each = self.running[key]
        if message is None and future.status == "finished":
            return  # its message is on the way
        del self.running[key]
        if message is not None:
            future.release()
            outcome = unpacked(message)
            self.pace.finished(outcome.seconds)
            yield from self._on_outcome(each, outcome)
        elif future.status == "error":
            error = future.exception()
            future.release()
            yield from self._on_worker_death(each, error)
        else:  # the scheduler is gone, and all futures with it
            raise scheduler_gone(self.address, "the connection was lost")

    def _on_outcome(
        self, each: _Attempt[T], outcome: AttemptMessage
    ) -> Iterator[tuple[T, Outcome[R]]]:
        error = outcome.error
        if error is None:
            yield each.item, Outcome(value=outcome.value)
        elif self.patience.again(error, each.count):
            wait_s = self.patience.wait_s(each.count)
            events.emit("unit_retried", **each.fields, error=str(error), wait_s=wait_s)
            each.avoid = outcome.worker
            heapq.heappush(self.waiting, (time.monotonic() + wait_s, each.number, each))
        else:
            yield each.item, Outcome(error=error)

    def _on_worker_death(
        self, each: _Attempt[T], error: Exception
    ) -> Iterator[tuple[T, Outcome[R]]]:
        """Dask blames every unit that was on a dead worker, so each is run again alone."""
        if type(error).__name__ != "KilledWorker":
            yield each.item, Outcome(error=error)
        elif each.alone:
            yield each.item, Outcome(error=_worker_killed_error(each))
        else:
            events.emit("set_aside", **each.fields)
            each.alone = True
            self.isolated.append(each)

    def _check(self) -> None:
        """Check every few seconds that the scheduler is running and which units are slow."""
        now_s = time.monotonic()
        if now_s - self.checked_s < _CHECK_EVERY_S:
            return
        self.checked_s = now_s
        if self.client.status != "running":
            raise scheduler_gone(self.address, f"the client is {self.client.status}")
        workers = self.client.scheduler_info()["workers"]
        self._count_workers(workers)
        if not workers:
            events.emit("note", stage="", text="no worker is connected; waiting for one")
        where = {key: worker for worker, keys in self.client.processing().items() for key in keys}
        mine = where.keys() & self.running.keys()
        for key, seconds in self.pace.stragglers(mine, now_s):
            events.emit(
                "straggler", **self.running[key][1].fields, seconds=round(seconds, 1),
                median_s=round(self.pace.median_s, 1), worker=where[key],
            )  # fmt: skip

    def _count_workers(self, workers: Mapping[str, Mapping[str, Any]]) -> None:
        """Tell how many units run at once, when that has changed."""
        at_once = sum(
            int(each.get("resources", {}).get("GPU", 0)) if self.gpus else int(each["nthreads"])
            for each in workers.values()
        )
        if at_once and at_once != self.at_once:
            self.at_once = at_once
            events.emit("workers", stage=self.stage, count=at_once)

    @property
    def address(self) -> str:
        """Address of the scheduler."""
        return str(self.client.scheduler.address) if self.client.scheduler else "scheduler"


def _worker_killed_error(each: _Attempt[Any]) -> MachineError:
    return MachineError(
        "the worker died each time it computed this result, even when it computed nothing else",
        where=each.name,
        remedy="give workers more memory, or find the crash in a library: run the stage with "
        "--cluster here and look at the case",
        code="poison-unit",
    )
