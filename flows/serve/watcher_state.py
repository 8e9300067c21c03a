"""State of the scheduled watchers: the last successful poll, and how long scans have waited."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from synthct.flows.jobs.scheduled_jobs import WATCH
from synthct.flows.serve.runs import Answer
from synthct.tasks.prediction.outbox import LAST_POLL, POLLS


@dataclass(frozen=True)
class WatcherState:
    """State of one scheduled watcher.

    Parameters
    ----------
    workspace
        Name under which its runs are listed.
    since_poll_s
        Time since its last successful poll, or since the service started [s].
    waiting
        Number of scans in its inbox without a result.
    oldest_s
        Time for which the oldest of them has waited [s].
    """

    workspace: str
    since_poll_s: float
    waiting: int
    oldest_s: float


def watcher_states(answer: Answer, root: Path, since_s: float) -> Iterator[WatcherState]:
    """State of every scheduled watcher.

    Parameters
    ----------
    answer
        Runs and deployments of the Prefect server.
    root
        The checkout, to which the outboxes' paths are relative.
    since_s
        Start of the service [s since 1970]; earlier no watcher could run.
    """
    now_s = time.time()
    for watcher in answer.watchers:
        if not watcher.on:
            continue
        good = [
            run.end_s or 0.0
            for run in answer.runs
            if (run.what, run.workspace, run.state) == (WATCH, watcher.workspace, "COMPLETED")
        ]
        since_poll_s = now_s - max([since_s, *good])
        waiting, oldest_s = _left(root / watcher.out / POLLS / LAST_POLL, now_s)
        yield WatcherState(watcher.workspace, since_poll_s, waiting, oldest_s)


def _left(file: Path, now_s: float) -> tuple[int, float]:
    """(number of waiting scans, age of the oldest [s]) according to the newest poll."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, OverflowError):
        noted = json.loads(file.read_text())
        waiting = int(noted["waiting"])
        if waiting:
            return waiting, float(noted["oldest_s"]) + max(0.0, now_s - float(noted["looked_s"]))
    return 0, 0.0
