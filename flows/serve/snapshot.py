"""Snapshot of everything that the status page and the exporter show."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from synthct.flows.run.prefect_api import Api
from synthct.flows.serve.machine import Machine
from synthct.flows.serve.records import Model, Record, Records, models
from synthct.flows.serve.runs import Answer, ask
from synthct.flows.serve.watcher_state import WatcherState, watcher_states

ACTIVE_S = 600.0
"""A run without an event for this time is not shown as active [s]."""


@dataclass(frozen=True)
class Facts:
    """One snapshot."""

    answer: Answer
    records: tuple[Record, ...]
    models: tuple[Model, ...]
    machine: Machine
    taken_s: float
    watchers: tuple[WatcherState, ...] = ()

    @property
    def active(self) -> Record | None:
        """The newest run, if Prefect reports a running one."""
        on = any(run.state == "RUNNING" for run in self.answer.runs)
        newest = self.records[0] if self.records else None
        if newest is None or not on or self.taken_s - newest.last_s > ACTIVE_S:
            return None
        return newest


@dataclass
class Observer:
    """Takes a snapshot on request, at most once in ``period_s`` seconds; thread-safe.

    Parameters
    ----------
    root
        The checkout.
    api
        Address of the Prefect API.
    units
        Folder of the result cache on this machine.
    period_s
        Time for which a snapshot is reused [s].
    """

    root: Path
    api: str
    units: Path
    period_s: float = 2.0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _facts: Facts | None = None

    def __post_init__(self) -> None:
        self._asks = Api(self.api)
        self._since_s = time.time()
        self._records = Records(self.root)
        self._machine = Machine(self.root, self.units)

    def snapshot(self) -> Facts:
        """The current snapshot."""
        with self._lock:
            now_s = time.time()
            if self._facts is None or now_s - self._facts.taken_s > self.period_s:
                self._facts = Facts(
                    (answer := ask(self._asks)),
                    tuple(self._records.read()),
                    tuple(models(self.root)),
                    self._machine,
                    now_s,
                    tuple(watcher_states(answer, self.root, self._since_s)),
                )
            return self._facts
