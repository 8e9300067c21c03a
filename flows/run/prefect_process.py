"""The Prefect server's process, with bounds on what it keeps in memory: PATH PORT.

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
from typing import Any

SQLITE_BYTES = 32 * 2**20
"""Of the pages of all connections together."""

ARENAS = 2
"""Heaps that the threads share; glibc's default is eight a core."""

TIDY_EVERY_S = 30.0

HOSTS = ["127.0.0.1", "localhost"]

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


def application() -> Any:
    """Prefect's own application, for requests that name this machine as their host.

    A page of the web whose name was made to point here (DNS rebinding) names another.
    """
    from prefect.server.api.server import create_app
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    return TrustedHostMiddleware(create_app(), allowed_hosts=HOSTS, www_redirect=False)


def main(port: int) -> None:
    """Serve on loopback until told to stop.

    The application that `prefect server start` itself runs, without its two extra processes.
    """
    import uvicorn

    bound_memory()
    uvicorn.run(
        application,
        factory=True,
        host=HOSTS[0],
        port=port,
        lifespan="on",
        log_level="warning",
        timeout_graceful_shutdown=2,
    )


if __name__ == "__main__":
    main(int(sys.argv[1]))
