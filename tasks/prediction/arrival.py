"""One entry of an inbox, and what every kind of inbox has to say of it."""

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
        As the sender called it; it may identify a patient and stays in the inbox.
    content
        Hash that names the entry's bytes.
    known_s
        For how long it has been in the inbox [s].
    """

    name: str
    content: str
    known_s: float = field(default=0.0, compare=False)


@dataclass(frozen=True)
class Pending:
    """What is in the inbox but not whole yet.

    Parameters
    ----------
    count
        Entries.
    rest_s
        In how many seconds they may be whole, if nothing changes; 0 where there are none.
    oldest_s
        For how long the oldest of them has been there [s].
    """

    count: int = 0
    rest_s: float = 0.0
    oldest_s: float = 0.0


NOTHING_PENDING = Pending()


class Inbox(Protocol):
    """Where scans arrive."""

    pending: Pending
    """Of the newest look."""

    notes: Sequence[str]
    """What a person should know of the newest look; no names."""

    def arrivals(self) -> list[Arrival]:
        """Entries that are whole, by name."""

    def fetch(self, arrival: Arrival, folder: Path) -> Path:
        """The scan on this machine; a copy goes into ``folder``."""


def pending(waiting: Sequence[tuple[float, float]], settle_s: float) -> Pending:
    """Of entries that have (been as they are, been there) for so long [s]."""
    if not waiting:
        return Pending()
    rest_s = max(settle_s - quiet_s for quiet_s, _ in waiting)
    return Pending(len(waiting), max(rest_s, 0.01), max(known_s for _, known_s in waiting))


def suffixes(name: str) -> str:
    """``.nii.gz`` of ``a.b.nii.gz``: what the reader tells the format by."""
    parts = PurePosixPath(name).suffixes
    return "".join(parts[-2:]) if parts[-1:] == [".gz"] else "".join(parts[-1:])


def inbox_changed(arrival: Arrival) -> MachineError:
    """The error of an entry that is another than was seen, or gone."""
    return MachineError(
        "the entry changed or was removed while it was read",
        where=arrival.content[:16],
        rule="an entry of the inbox stays as it is while it is read",
        remedy="wait: it is taken when it no longer changes (--settle)",
        code=CHANGED,
    )
