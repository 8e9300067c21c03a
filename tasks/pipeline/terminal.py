"""Progress lines for a stage run by hand or by ``dvc repro``; the flow draws its own."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from synthct.data.environment import EVENTS
from synthct.data.temporary import temporary_folder
from synthct.tasks.pipeline.progress import Heartbeat, StageProgress, spelled_s

_PERIOD_S = 0.5


@contextlib.contextmanager
def progress(stage: str) -> Iterator[None]:
    """Print units as they finish, and at least every 10 s how far the stage is.

    Nothing is printed if another process reads the events.
    """
    if os.environ.get(EVENTS):
        yield
        return
    with temporary_folder("events") as folder:
        path = folder / "events.jsonl"
        path.touch()
        os.environ[EVENTS] = str(path)
        stop = threading.Event()
        follower = threading.Thread(target=_follow, args=(path, stop, stage), daemon=True)
        follower.start()
        try:
            yield
        finally:
            del os.environ[EVENTS]
            stop.set()
            follower.join()


def _follow(path: Path, stop: threading.Event, stage: str) -> None:
    now, heartbeat = StageProgress(), Heartbeat()
    with path.open() as file:
        while True:
            ending = stop.is_set()
            for line in file:
                event = json.loads(line)
                now.take(event)
                if text := spelled(event, now.left_s):
                    sys.stderr.write(text + "\n")
                    heartbeat.spoke()
            if ending:
                return
            if heartbeat.due:
                sys.stderr.write(now.line(stage) + "\n")
                heartbeat.spoke()
            stop.wait(_PERIOD_S)


def spelled(event: dict[str, Any], left_s: float | None = None) -> str:
    """One event as a line of text; "" for an event that is not printed.

    ``left_s``: seconds until the stage's other units are done, as far as known.
    """
    kind, stage = event["kind"], event.get("stage", "")
    if kind == "units_planned":
        return f"{stage}: {event['total']} units, {event['reused']} reused"
    if kind == "unit_done":
        known = left_s is not None and event["done"] < event["total"]
        left = f", about {spelled_s(left_s or 0.0)} left" if known else ""
        seconds = f" ({event['seconds']:.1f} s)" if "seconds" in event else ""
        what = " (excluded)" if event.get("excluded") else seconds
        return f"{stage}: {event['done']}/{event['total']} {event['unit']}{what}{left}"
    if kind == "unit_failed":
        return f"{stage}: {event['unit']} failed: {event['error']}"
    if kind == "unit_retried":
        return f"{stage}: {event['unit']} again in {event['wait_s']:.0f} s: {event['error']}"
    if kind == "set_aside":
        return f"{stage}: {event['unit']} set aside, its workers died; tried alone at the end"
    if kind == "straggler":
        slow = f"{event['seconds']:.0f} s so far, others took {event['median_s']:.0f} s"
        return f"{stage}: {event['unit']} is slow: {slow} ({event['worker']})"
    if kind == "note":
        return f"{stage}: {event['text']}"
    return ""
