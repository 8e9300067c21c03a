"""One entry of an inbox, and the interface of every kind of inbox."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Protocol

from synthct.data.errors import MachineError

UNFINISHED = (".part", ".partial", ".tmp", ".crdownload", ".filepart")
"""Endings that programs give to files they are still writing."""

CHANGED = "inbox-changed"


@dataclass(frozen=True)
class Arrival:
    """One entry of the inbox: a file, a zip or a folder of one scan.

    Parameters
    ----------
    name
        The sender's name for it; it may identify a patient and is never written elsewhere.
    content
        Hash of the entry's bytes.
    known_s
        Time since it was first seen in the inbox [s].
    """

    name: str
    content: str
    known_s: float = field(default=0.0, compare=False)


@dataclass(frozen=True)
class Pending:
    """Entries of the inbox that are not complete yet.

    Parameters
    ----------
    count
        Number of entries.
    rest_s
        Time after which they may be complete if nothing changes [s]; 0 if there are none.
    oldest_s
        Time since the oldest of them was first seen [s].
    """

    count: int = 0
    rest_s: float = 0.0
    oldest_s: float = 0.0


NOTHING_PENDING = Pending()


class Inbox(Protocol):
    """Where scans arrive."""

    pending: Pending
    """Incomplete entries in the newest poll."""

    notes: Sequence[str]
    """Notes for the user on the newest poll; they contain no names."""

    def arrivals(self) -> list[Arrival]:
        """Complete entries, sorted by name."""

    def fetch(self, arrival: Arrival, folder: Path) -> Path:
        """Path of the scan on this machine, copied into ``folder``."""


def pending(waiting: Sequence[tuple[float, float]], settle_s: float) -> Pending:
    """Summary of incomplete entries, each given as (time unchanged, time since first seen) [s]."""
    if not waiting:
        return Pending()
    rest_s = max(settle_s - quiet_s for quiet_s, _ in waiting)
    return Pending(len(waiting), max(rest_s, 0.01), max(known_s for _, known_s in waiting))


def suffixes(name: str) -> str:
    """``.nii.gz`` of ``a.b.nii.gz``: the suffix by which readers recognise the format."""
    parts = PurePosixPath(name).suffixes
    return "".join(parts[-2:]) if parts[-1:] == [".gz"] else "".join(parts[-1:])


def inbox_changed(arrival: Arrival) -> MachineError:
    """The error of an entry that has changed or disappeared since it was listed."""
    return MachineError(
        "the entry changed or was removed while it was read",
        where=arrival.content[:16],
        rule="an entry of the inbox stays as it is while it is read",
        remedy="wait: it is taken when it no longer changes (--settle)",
        code=CHANGED,
    )
