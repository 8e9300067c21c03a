"""Results of a batch: each scan is claimed, predicted and published once, even after kills."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synthct.data.files import canonical_json, whole_folder, write_whole

REPORT = "report.json"

POLLS, LAST_POLL = ".looks", "last.json"
"""Folder and file below an outbox with the state of the last poll, for the next poll and the
exporter."""


@dataclass(frozen=True)
class Outbox:
    """A folder with ``done/``, ``quarantine/`` and locks against concurrent watchers.

    A result is published by one rename of its folder, which is named by the key, and never
    replaced. So a scan has one result or none, and a restarted watcher knows what is left to do.
    """

    root: Path

    @property
    def done(self) -> Path:
        """Folder of the published predictions."""
        return self.root / "done"

    @property
    def quarantine(self) -> Path:
        """Folder of the reports on scans that cannot be predicted."""
        return self.root / "quarantine"

    def settled(self, key: str) -> bool:
        """Whether the key was published or quarantined, under any name."""
        return any(
            (folder / REPORT).is_file()
            for shelf in (self.done, self.quarantine)
            for folder in shelf.glob(f"*{key[:16]}")
        )

    @contextlib.contextmanager
    def claim(self, key: str) -> Iterator[int | None]:
        """Lock ``key`` for this process; yields the lock's descriptor, or None if another has it.

        The kernel releases the lock when every process that holds the descriptor has ended. A
        worker that inherits it therefore keeps the lock until its own end.
        """
        locks = self.root / ".claims"
        locks.mkdir(parents=True, exist_ok=True)
        handle = os.open(locks / key[:16], os.O_RDWR | os.O_CREAT, 0o644)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield None
            else:
                yield handle
        finally:
            os.close(handle)

    @contextlib.contextmanager
    def publish(self, name: str) -> Iterator[Path]:
        """A folder that appears under ``done/``, complete, when the block succeeds."""
        with whole_folder(self.done / name) as building:
            yield building

    def set_aside(self, name: str, report: Mapping[str, Any]) -> None:
        """Publish a report under ``quarantine/``."""
        with whole_folder(self.quarantine / name) as building:
            write_whole(building / REPORT, canonical_json(dict(report)))

    def crashes(self, key: str, *, one_more: bool = False) -> int:
        """Number of times that the worker died on this scan; stored on disk for restarts."""
        file = self.root / ".crashes" / key[:16]
        count = int(file.read_text()) if file.is_file() else 0
        if one_more:
            count += 1
            write_whole(file, str(count))
        return count

    def memory(self, inbox: str) -> Path:
        """File with the states of an inbox's entries; in a folder that only its owner can read."""
        return self.root / POLLS / f"{hashlib.sha256(inbox.encode()).hexdigest()[:16]}.json"

    def record_poll(self, waiting: int, oldest_s: float) -> None:
        """Record time, number of waiting scans and age of the oldest [s] of a poll."""
        (self.root / POLLS).mkdir(mode=0o700, parents=True, exist_ok=True)
        facts = {"looked_s": round(time.time()), "waiting": waiting, "oldest_s": round(oldest_s)}
        write_whole(self.root / POLLS / LAST_POLL, canonical_json(facts))

    def reports(self) -> list[dict[str, Any]]:
        """All reports: first of ``done/``, then of ``quarantine/``, each by name."""
        found = []
        for shelf in (self.done, self.quarantine):
            for file in sorted(shelf.glob(f"*/{REPORT}")):
                if not file.parent.name.startswith("."):
                    found.append({"name": file.parent.name, **json.loads(file.read_text())})
        return found


def folder_name(key: str, sender: str | None) -> str:
    """Folder name: the key's first 16 digits, after the sender's name if that is kept."""
    if sender is None:
        return key[:16]
    stem = re.sub(r"[^A-Za-z0-9._-]+", "_", sender.split(".")[0]).strip("._-")[:60] or "scan"
    return f"{stem}-{key[:16]}"
