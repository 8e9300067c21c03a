"""SIGTERM and SIGHUP end a process like Ctrl-C, so that resources are released."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

_SIGNALS = (signal.SIGTERM, signal.SIGHUP)


class Ended(KeyboardInterrupt):
    """The process received a termination signal; libraries treat it as they treat Ctrl-C."""

    def __init__(self, number: int) -> None:
        super().__init__(f"ended by {signal.Signals(number).name}")
        self.exit_code = 128 + number


@contextlib.contextmanager
def ends_in_order() -> Iterator[None]:
    """Make the signals raise :class:`Ended` in the main thread, once, within the block.

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
    raise Ended(number)
