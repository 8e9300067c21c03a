"""What the watchers see: when one last looked well, and for how long scans have been waiting."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from synthct.flows.jobs.scheduled_jobs import WATCH
from synthct.flows.serve.runs import Answer
from synthct.tasks.prediction.outbox import LAST_LOOK, LOOKS


@dataclass(frozen=True)
class Look:
    """One scheduled watcher.

    Parameters
    ----------
    workspace
        As its runs are listed.
    blind_s
        Since its last good look, or since it could have had one [s].
    waiting
        Scans in its inbox that have no result.
    oldest_s
        For how long the oldest of them has been waiting [s].
    """

    workspace: str
    blind_s: float
    waiting: int
    oldest_s: float


def looks_of(answer: Answer, root: Path, since_s: float) -> Iterator[Look]:
    """The watchers that are scheduled.

    Parameters
    ----------
    root
        The checkout: outboxes are named from there.
    since_s
        When the service started: before, nobody was there to look.
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
        blind_s = now_s - max([since_s, *good])
        waiting, oldest_s = _left(root / watcher.out / LOOKS / LAST_LOOK, now_s)
        yield Look(watcher.workspace, blind_s, waiting, oldest_s)


def _left(file: Path, now_s: float) -> tuple[int, float]:
    """(how many scans wait, the oldest for how long [s]) after the newest look."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        told = json.loads(file.read_text())
        waiting = int(told["waiting"])
        if waiting:
            return waiting, float(told["oldest_s"]) + max(0.0, now_s - float(told["looked_s"]))
    return 0, 0.0
