"""One intake into a data set at a time."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout

WAITING = "another `synthct ingest` writes into this data set: waiting until it is done"


@contextlib.contextmanager
def intake_lock(folder: Path, told: Callable[[str], None] = lambda _: None) -> Iterator[None]:
    """Hold the data set in ``folder``; waits for the process that holds it, and says so.

    The lock file lies beside the folder, where DVC does not take it for a part of the data. It
    ends with the process that holds it, however that ends. Whoever holds it may ask again.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder.parent.resolve() / f".{folder.name}.lock", is_singleton=True)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        told(WAITING)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
