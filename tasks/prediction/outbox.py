"""Results of a batch: each scan is claimed, predicted and published once, whatever is killed."""

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
"""Below an outbox: what its watcher saw, for the next look and for the exporter."""


@dataclass(frozen=True)
class Outbox:
    """A folder with ``done/``, ``quarantine/`` and the locks that keep two watchers apart.

    A result is published by one rename of its folder, named by the key, and never replaced: so a
    scan is there once or not at all, and a watcher that starts again knows what is left.
    """

    root: Path

    @property
    def done(self) -> Path:
        """Published predictions, a folder each."""
        return self.root / "done"

    @property
    def quarantine(self) -> Path:
        """Reports of scans that cannot be predicted, a folder each."""
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
        """A lock file's descriptor while this process alone works on ``key``; None: another does.

        The kernel lets go of it when every holder is dead: a worker that inherits the descriptor
        keeps the claim until it is dead too.
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
        """A folder that appears whole under ``done/`` when the block succeeds."""
        with whole_folder(self.done / name) as building:
            yield building

    def set_aside(self, name: str, report: Mapping[str, Any]) -> None:
        """Publish the reason under ``quarantine/``."""
        with whole_folder(self.quarantine / name) as building:
            write_whole(building / REPORT, canonical_json(dict(report)))

    def crashes(self, key: str, *, one_more: bool = False) -> int:
        """How often the worker died over this scan; on disk, so that a restart remembers."""
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
        """Leave word of a look: when it was, how many scans wait, the oldest for how long [s]."""
        (self.root / POLLS).mkdir(mode=0o700, parents=True, exist_ok=True)
        facts = {"looked_s": round(time.time()), "waiting": waiting, "oldest_s": round(oldest_s)}
        write_whole(self.root / POLLS / LAST_POLL, canonical_json(facts))

    def reports(self) -> list[dict[str, Any]]:
        """All reports, done first, by name."""
        found = []
        for shelf in (self.done, self.quarantine):
            for file in sorted(shelf.glob(f"*/{REPORT}")):
                if not file.parent.name.startswith("."):
                    found.append({"name": file.parent.name, **json.loads(file.read_text())})
        return found


def folder_name(key: str, sender: str | None) -> str:
    """The key's first 16 digits, after the sender's name where it may be kept."""
    if sender is None:
        return key[:16]
    stem = re.sub(r"[^A-Za-z0-9._-]+", "_", sender.split(".")[0]).strip("._-")[:60] or "scan"
    return f"{stem}-{key[:16]}"
