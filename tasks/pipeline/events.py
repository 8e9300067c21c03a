"""Events of a run as JSON lines: the flow, the terminal and the metrics read the same file."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from synthct.data.environment import EVENTS

_elsewhere: list[Callable[[str], None]] = []
"""Receivers of the lines on a machine that cannot see the file; the innermost one is used."""


def emit(kind: str, **fields: Any) -> None:
    """Append one event. A full disk or a lost folder must not stop a run: the event is dropped.

    Kinds: ``stage_started`` (stage), ``units_planned`` (stage, total, reused, and efforts: of each
    unit to compute, in order), ``workers`` (stage, count: units that run at once), ``unit_done``
    (stage, unit, seconds, import_s of them, reused, excluded, done, total), ``unit_failed``
    (stage, unit, error), ``unit_retried`` (stage, unit, error, wait_s), ``set_aside`` (stage, unit:
    its workers died, it is tried alone after the others), ``straggler`` (stage, unit, seconds,
    median_s, worker), ``excluded`` (stage, unit, code, where, problem, rule, remedy),
    ``step`` (stage, unit, step and total for progress within the unit, and any numbers),
    ``note`` (stage, text), ``stage_done`` (stage).
    """
    line = json.dumps({"kind": kind, "time_s": round(time.time(), 3), **fields}) + "\n"
    if _elsewhere:
        _elsewhere[-1](line)
    else:
        append(line)


def append(line: str) -> None:
    """Add one whole line to the event file of this process."""
    path = os.environ.get(EVENTS)
    if not path:
        return
    try:
        # One write of one line in append mode: lines of several workers never interleave.
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(handle, line.encode())
        finally:
            os.close(handle)
    except OSError:
        return


def reachable() -> bool:
    """Whether this process can append to the run's event file (a remote worker cannot)."""
    path = os.environ.get(EVENTS)
    return bool(path) and Path(str(path)).exists()


@contextlib.contextmanager
def diverted(take: Callable[[str], None]) -> Iterator[None]:
    """Send the lines of this process to ``take`` instead of the file within the block."""
    _elsewhere.append(take)
    try:
        yield
    finally:
        _elsewhere.remove(take)
