"""The Prefect server process, with bounded memory: ``python prefect_process.py PORT``.

It is run by its path and imports no module of this package. Without bounds, the memory of a server
that runs for months grows: each database connection may cache 20,000 pages, each thread has a heap
whose memory is not returned, and Python collects cycles among old objects only once a quarter of
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
"""Bound of SQLite's page caches of all connections together."""

ARENAS = 2
"""Heaps that the threads share; glibc's default is eight per core."""

TIDY_EVERY_S = 30.0

HOSTS = ["127.0.0.1", "localhost"]

_M_ARENA_MAX = -8


def bound_memory() -> None:
    """Bound the memory of this process: heaps, SQLite's caches, uncollected cycles."""
    with contextlib.suppress(AttributeError):  # a C library without mallopt: no bound of heaps
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, ARENAS)
    with contextlib.closing(sqlite3.connect(":memory:")) as any_database:
        any_database.execute(f"PRAGMA soft_heap_limit = {SQLITE_BYTES}")
    threading.Thread(target=_tidy, daemon=True, name="tidy").start()


def _tidy() -> None:
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    time.sleep(TIDY_EVERY_S)
    gc.collect()
    gc.freeze()  # imported objects stay: later collections need not visit them
    while True:
        if trim is not None:
            trim(0)
        time.sleep(TIDY_EVERY_S)
        gc.collect()


def application() -> Any:
    """Prefect's application, restricted to requests whose ``Host`` is this machine.

    This stops DNS rebinding: a web page whose domain resolves to 127.0.0.1 sends its own host name.
    """
    from prefect.server.api.server import create_app
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    return TrustedHostMiddleware(create_app(), allowed_hosts=HOSTS, www_redirect=False)


def main(port: int) -> None:
    """Serve on loopback until a signal.

    Runs the same application as `prefect server start`, without its two extra processes.
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
