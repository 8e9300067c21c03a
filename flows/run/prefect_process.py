"""The Prefect server's process, with bounds on what it keeps in memory: PATH UVICORN-ARGUMENTS...

Run by its path, so it imports nothing of ours. Left alone, a server that is up for months grows:
each of its connections may cache 20,000 pages of the database, each thread has a heap of its own
that is not handed back, and Python looks for dead cycles among old objects only when a quarter of
all objects is new.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import sqlite3
import sys
import threading
import time

SQLITE_BYTES = 32 * 2**20
"""Of the pages of all connections together."""

ARENAS = 2
"""Heaps that the threads share; glibc's default is eight a core."""

TIDY_EVERY_S = 30.0

_M_ARENA_MAX = -8


def bound_memory() -> None:
    """For this process, whichever connections and threads come later."""
    with contextlib.suppress(AttributeError):  # another C library: without this bound
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, ARENAS)
    with contextlib.closing(sqlite3.connect(":memory:")) as any_database:
        any_database.execute(f"PRAGMA soft_heap_limit = {SQLITE_BYTES}")
    threading.Thread(target=_tidy, daemon=True, name="tidy").start()


def _tidy() -> None:
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    time.sleep(TIDY_EVERY_S)
    gc.collect()
    gc.freeze()  # what was imported stays: the next looks are short
    while True:
        if trim is not None:
            trim(0)
        time.sleep(TIDY_EVERY_S)
        gc.collect()


if __name__ == "__main__":
    from uvicorn import main

    bound_memory()
    sys.exit(main())
