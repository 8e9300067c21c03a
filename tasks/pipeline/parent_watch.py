"""Ends a stage when the flow that started it dies, so that no orphan process remains."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

from synthct.data.environment import PARENT_PID

_PERIOD_S = 1.0


def die_with_parent() -> None:
    """Kill this process group within about a second of the flow's death, SIGKILL included."""
    pid = os.environ.get(PARENT_PID, "")
    if pid.isdigit():
        started = _start_ticks(int(pid))
        threading.Thread(target=_watch, args=(int(pid), started), daemon=True).start()


def _watch(pid: int, started: str) -> None:
    while started and _start_ticks(pid) == started:
        time.sleep(_PERIOD_S)
    os.killpg(os.getpgid(0), signal.SIGKILL)


def _start_ticks(pid: int) -> str:
    """Start time of the process, which tells a recycled pid from the flow; "" if it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return "" if fields[0] == "Z" else fields[19]
