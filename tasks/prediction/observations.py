"""States of inbox entries in earlier polls: an entry is complete when two spaced polls agree.

The times are those of our own monotonic clock: the dates of files come from the sender's machine or
from the file server, a copy may keep the dates of its original, and setting the time of day must
complete no scan. Entries remembered from before the machine started are observed anew.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from synthct.data.files import canonical_json, write_whole

_BOOT = Path("/proc/sys/kernel/random/boot_id")
"""Names the start of the machine from which the monotonic clock counts."""


@dataclass
class _Seen:
    state: str
    since: float
    """When this state was first seen [s of the monotonic clock]."""
    first: float
    """When the entry was first seen [s of the monotonic clock]."""


@dataclass
class Observations:
    """How long each entry has been unchanged.

    Parameters
    ----------
    file
        File that keeps the states, so that a process that polls once continues from the poll before
        it; None: they are kept in memory. It holds hashes of names, in a folder that only its owner
        can read.
    """

    file: Path | None = None
    _seen: dict[str, _Seen] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.file is not None:
            self._seen = _read(self.file)

    def update(self, states: Mapping[str, str]) -> dict[str, float]:
        """Record a poll of all entries; return for how long each has been unchanged [s].

        Parameters
        ----------
        states
            A text that identifies the state of an entry, by the entry's name.
        """
        now = time.monotonic()
        found = {}
        for name, state in states.items():
            known = self._seen.get(_hash(name))
            if known is None:
                found[name] = _Seen(_hash(state), now, now)
            elif known.state != _hash(state):
                found[name] = _Seen(_hash(state), now, known.first)
            else:
                found[name] = known
        self._seen = {_hash(name): seen for name, seen in found.items()}
        self._keep(now)
        return {name: now - seen.since for name, seen in found.items()}

    def known_s(self, name: str) -> float:
        """Time since the entry was first seen, whether or not it has changed [s]."""
        known = self._seen.get(_hash(name))
        return time.monotonic() - known.first if known else 0.0

    def _keep(self, now: float) -> None:
        if self.file is None:
            return
        self.file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        today = time.time()
        entries = {
            name: [seen.state, round(seen.since, 2), round(today - (now - seen.first))]
            for name, seen in self._seen.items()
        }
        document = {"format": 2, "boot": _boot(), "entries": entries}
        write_whole(self.file, canonical_json(document))


def _read(file: Path) -> dict[str, _Seen]:
    """The states in the file; none if it cannot be read, which costs two more polls."""
    now, today = time.monotonic(), time.time()
    try:
        document = json.loads(file.read_text())
        same = document["format"] == 2 and document["boot"] == _boot() != ""
        return {
            str(name): _Seen(
                str(state), min(now, since) if same else now, now - max(0.0, today - first)
            )
            for name, (state, since, first) in document["entries"].items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _boot() -> str:
    try:
        return _BOOT.read_text().strip()
    except OSError:
        return ""


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
