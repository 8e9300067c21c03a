"""What is happening, as JSON lines: the flow, the terminal and the metrics read the same file."""

from __future__ import annotations

import json
import os
import time
from typing import Any

VARIABLE = "SYNTHCT_EVENTS"
"""Path of the file; unset: events are dropped. Never a DVC dependency, never in an out."""


def emit(kind: str, **fields: Any) -> None:
    """Append one event. A full disk or a lost folder must not stop the science: it is dropped.

    Kinds: ``stage_started`` (stage), ``units_planned`` (stage, total, reused),
    ``unit_done`` (stage, unit, seconds, reused, excluded, done, total, eta_s), ``unit_failed``
    (stage, unit, error), ``excluded`` (stage, unit, code, where, rule, got, remedy),
    ``step`` (stage, unit, step and total for progress within the unit, and any numbers),
    ``note`` (stage, text), ``stage_done`` (stage).
    """
    path = os.environ.get(VARIABLE)
    if not path:
        return
    line = json.dumps({"kind": kind, "time_s": round(time.time(), 3), **fields}) + "\n"
    try:
        # One write of one line in append mode: lines of several workers never interleave.
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(handle, line.encode())
        finally:
            os.close(handle)
    except OSError:
        return
