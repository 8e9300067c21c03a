"""Write the state of the workers into the run's folder every few seconds, for page and metrics."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from synthct.data.files import canonical_json, write_whole
from synthct.flows.clusters.started import Cluster

FILE = "cluster.json"
_PERIOD_S = 5.0


@contextlib.contextmanager
def watched(cluster: Cluster, folder: Path) -> Iterator[None]:
    """Update ``cluster.json`` in ``folder`` during the block; remove it afterwards."""
    if cluster.scheduler is None:
        yield
        return
    stop = threading.Event()
    watcher = threading.Thread(target=_watch, args=(cluster, folder / FILE, stop), daemon=True)
    watcher.start()
    try:
        yield
    finally:
        stop.set()
        watcher.join(_PERIOD_S)
        with contextlib.suppress(OSError):
            (folder / FILE).unlink(missing_ok=True)


def _watch(cluster: Cluster, path: Path, stop: threading.Event) -> None:
    while True:
        # Where the scheduler or the disk does not answer, one update is skipped; the run goes on.
        with contextlib.suppress(Exception):
            _write(cluster, path)
        if stop.wait(_PERIOD_S):
            return


def _write(cluster: Cluster, path: Path) -> None:
    facts = {
        "time_s": round(time.time(), 1),
        "scheduler": cluster.scheduler,
        "dashboard": cluster.dashboard,
        "workers": cluster.workers(),
    }
    write_whole(path, canonical_json(facts))
