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
    Landed,
    Outcome,
    attempt,
    scheduler_gone,
    unpacked,
)
from synthct.tasks.pipeline.retry_policy import Pace, RetryPolicy

T = TypeVar("T")
R = TypeVar("R")

_TICK_S = 1.0
_LOOK_EVERY_S = 5.0


@dataclass
class _Try(Generic[T]):
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
    landed: queue.SimpleQueue[Any] = field(default_factory=queue.SimpleQueue)
    flying: dict[str, tuple[Any, _Try[T]]] = field(default_factory=dict)
    waiting: list[tuple[float, int, _Try[T]]] = field(default_factory=list)
    suspects: deque[_Try[T]] = field(default_factory=deque)
    looked_s: float = field(default_factory=time.monotonic)
    stage: str = ""
    gpus: bool = False
    at_once: int = 0

    def outcomes(self, items: Sequence[T]) -> Iterator[tuple[T, Outcome[R]]]:
        """Submit all items; yield each once with its outcome."""
        self.client.subscribe_topic(self.topic, self._heard)
        on_gpu = bool(os.environ.get(GPU_UNITS))
        self.stage = self.label(items[0]).rpartition("/")[0]
        self.gpus = on_gpu and all(getattr(item, "gpu", False) for item in items)
        self._count_workers(self.client.scheduler_info()["workers"])
        try:
            for number, item in enumerate(items):
                gpu = on_gpu and bool(getattr(item, "gpu", False))
                self._launch(_Try(item, self.label(item), number, gpu))
            while self.flying or self.waiting or self.suspects:
                self._launch_due()
                with contextlib.suppress(queue.Empty):
                    yield from self._judge(*self.landed.get(timeout=_TICK_S))
                self._look()
        finally:
            self.client.cancel([future for future, _ in self.flying.values()])

    def _heard(self, event: tuple[float, Any]) -> None:
        """A worker's message: an event line, or the outcome of a unit."""
        if isinstance(event[1], str):
            events.append(event[1])
        else:
            self.landed.put(event[1])

    def _launch(self, each: _Try[T]) -> None:
        each.count += 1
        # The key names the item on the dashboard; pure=False: the result cache holds results.
        key = f"{each.name}-{each.number}-{each.count}-{self.topic}"
        others = self._others(each.avoid)
        future = self.client.submit(
            attempt, self.function, each.item, self.topic, key, key=key, pure=False,
            resources={"GPU": 1} if each.gpu else None,
            workers=others or None, allow_other_workers=bool(others),
        )  # fmt: skip
        self.flying[key] = future, each
        future.add_done_callback(lambda done: self.landed.put((done.key, None)))

    def _others(self, avoid: str) -> list[str]:
        if not avoid:
            return []
        return [address for address in self.client.scheduler_info()["workers"] if address != avoid]

    def _launch_due(self) -> None:
        while self.waiting and self.waiting[0][0] <= time.monotonic():
            self._launch(heapq.heappop(self.waiting)[2])
        if self.suspects and not self.flying and not self.waiting:
            self._launch(self.suspects.popleft())

    def _judge(self, key: str, landed: bytes | None) -> Iterator[tuple[T, Outcome[R]]]:
        """A worker sent an outcome (``landed``), or Dask reports that the task has ended."""
        if key not in self.flying:
            return  # handled before
        future, each = self.flying[key]
        if landed is None and future.status == "finished":
            return  # its message is on the way
        del self.flying[key]
        if landed is not None:
            future.release()
            message = unpacked(landed)
            self.pace.finished(message.seconds)
            yield from self._settle(each, message)
        elif future.status == "error":
            error = future.exception()
            future.release()
            yield from self._died(each, error)
        else:  # the scheduler is gone, and all futures with it
            raise scheduler_gone(self.address, "the connection was lost")

    def _settle(self, each: _Try[T], landed: Landed) -> Iterator[tuple[T, Outcome[R]]]:
        error = landed.error
        if error is None:
            yield each.item, Outcome(value=landed.value)
        elif self.patience.again(error, each.count):
            wait_s = self.patience.wait_s(each.count)
            events.emit("unit_retried", **each.fields, error=str(error), wait_s=wait_s)
            each.avoid = landed.worker
            heapq.heappush(self.waiting, (time.monotonic() + wait_s, each.number, each))
        else:
            yield each.item, Outcome(error=error)

    def _died(self, each: _Try[T], error: Exception) -> Iterator[tuple[T, Outcome[R]]]:
        """The units that shared the dead worker are suspects too: each is run again alone."""
        if type(error).__name__ != "KilledWorker":
            yield each.item, Outcome(error=error)
        elif each.alone:
            yield each.item, Outcome(error=_poison(each))
        else:
            events.emit("set_aside", **each.fields)
            each.alone = True
            self.suspects.append(each)

    def _look(self) -> None:
        """Check every few seconds that the scheduler is running and which units are slow."""
        now_s = time.monotonic()
        if now_s - self.looked_s < _LOOK_EVERY_S:
            return
        self.looked_s = now_s
        if self.client.status != "running":
            raise scheduler_gone(self.address, f"the client is {self.client.status}")
        workers = self.client.scheduler_info()["workers"]
        self._count_workers(workers)
        if not workers:
            events.emit("note", stage="", text="no worker is connected; waiting for one")
        where = {key: worker for worker, keys in self.client.processing().items() for key in keys}
        mine = where.keys() & self.flying.keys()
        for key, seconds in self.pace.stragglers(mine, now_s):
            events.emit(
                "straggler", **self.flying[key][1].fields, seconds=round(seconds, 1),
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


def _poison(each: _Try[Any]) -> MachineError:
    return MachineError(
        "the worker died each time it computed this result, even when it computed nothing else",
        where=each.name,
        remedy="give workers more memory, or find the crash in a library: run the stage with "
        "--cluster here and look at the case",
        code="poison-unit",
    )
