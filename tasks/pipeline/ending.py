"""Termination of a process: with cleanup at SIGTERM and SIGHUP, and together with its flow."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from synthct.data.environment import PARENT_PID

_SIGNALS = (signal.SIGTERM, signal.SIGHUP)
_PERIOD_S = 1.0


class Terminated(KeyboardInterrupt):
    """The process received a termination signal; libraries treat it as they treat Ctrl-C."""

    def __init__(self, number: int) -> None:
        super().__init__(f"ended by {signal.Signals(number).name}")
        self.exit_code = 128 + number


@contextlib.contextmanager
def graceful_termination() -> Iterator[None]:
    """Make the signals raise :class:`Terminated` in the main thread, once, within the block.

    A signal that is ignored stays ignored: ``nohup`` ignores SIGHUP.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {}
    for number in _SIGNALS:
        handler = signal.getsignal(number)
        if handler is signal.SIG_DFL:
            before[number] = handler
            signal.signal(number, _end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(number: int, _frame: FrameType | None) -> None:
    for each in _SIGNALS:
        signal.signal(each, signal.SIG_IGN)  # a second one would interrupt the cleanup
    raise Terminated(number)


def die_with_parent() -> None:
    """Kill this process group within about a second of the flow's death, SIGKILL included.

    So no orphaned stage continues.
    """
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
