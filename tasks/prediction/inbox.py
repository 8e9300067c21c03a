"""Inboxes: scans that arrive in a folder or under an S3 prefix, and which of them are complete."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from synthct.data.errors import DataError, UsageError
from synthct.data.files import content_hash
from synthct.data.store.connection import require_store
from synthct.tasks.prediction.arrival import (
    NOTHING_PENDING,
    UNFINISHED,
    Arrival,
    Inbox,
    Pending,
    inbox_changed,
    pending,
    suffixes,
)
from synthct.tasks.prediction.observations import Observations
from synthct.tasks.prediction.prefix import PrefixInbox

__all__ = ["Arrival", "FolderInbox", "Inbox", "PrefixInbox", "open_inbox"]

_CLOCKS_APART_S = 2.0

_ANOTHER_ENTRY = {errno.ENOENT, errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.ENXIO}
"""What opening a file says that was removed, or replaced by a link, a folder or a socket."""

State = tuple[tuple[str, int, int, int], ...]
"""(name, size, modified, changed [ns]) of every file of an entry."""


@dataclass
class FolderInbox:
    """A folder in which each entry is a scan, complete once it is unchanged for ``settle_s``.

    Two polls compare names, sizes, modification times and status change times (ctime). A copy that
    keeps the dates of its original (``cp -p``, ``rsync -t``) is noticed by its ctime. The time
    between polls is measured by our own clock, so a sender's wrong clock delays nothing.
    """

    root: Path
    settle_s: float = 10.0
    observations: Observations = field(default_factory=Observations)
    pending: Pending = NOTHING_PENDING
    notes: Sequence[str] = ()
    _hashes: dict[State, str] = field(default_factory=dict)

    def arrivals(self) -> list[Arrival]:
        """Complete entries; an entry is hashed once for each state of its files."""
        states = {
            entry.name: state
            for entry in sorted(self.root.iterdir())
            if (state := _state(entry)) is not None
        }
        quiet = self.observations.update({name: repr(state) for name, state in states.items()})
        found, waiting, unread = [], [], 0
        for name, state in states.items():
            known_s = self.observations.known_s(name)
            content = self._hash(name, state) if quiet[name] >= self.settle_s else None
            if content is not None:
                found.append(Arrival(name, content, known_s))
            else:
                waiting.append((quiet[name], known_s))
                unread += quiet[name] >= self.settle_s
        self._hashes = {s: h for s, h in self._hashes.items() if s in set(states.values())}
        self.pending = pending(waiting, self.settle_s)
        self.notes = list(_notes(states, unread))
        return found

    def _hash(self, name: str, state: State) -> str | None:
        """Content hash; None if the files cannot be read, so that the other entries go on."""
        if state not in self._hashes:
            try:
                entry = self.root / name
                self._hashes[state] = (
                    content_hash(entry) if _is_plain(entry) else _unread_name(state)
                )
            except OSError:
                return None
        return self._hashes[state]

    def fetch(self, arrival: Arrival, folder: Path) -> Path:
        """Copy the entry and verify its hash, since the sender may still be writing.

        Raises
        ------
        DataError
            ``inbox-link``: it holds more than files and folders.
        MachineError
            ``inbox-changed``.
        """
        source, target = self.root / arrival.name, folder / f"scan{suffixes(arrival.name)}"
        try:
            if not _is_plain(source):
                raise _special_file(arrival)
            if source.is_dir():
                target = folder / "scan"
                _copy_folder(source, target)
            else:
                _copy_file(source, target)
        except OSError as error:
            if error.errno not in _ANOTHER_ENTRY:
                raise
            raise inbox_changed(arrival) from error
        if content_hash(target) != arrival.content:
            raise inbox_changed(arrival)
        return target


def _state(entry: Path) -> State | None:
    """State of an entry; None if it is not a scan, or not yet."""
    try:
        files = _inside(entry)
        if entry.name.startswith(".") or entry.is_symlink() or not files:
            return None
        if any(file.name.lower().endswith(UNFINISHED) for file in files):
            return None
        return tuple(
            (str(file), (s := file.lstat()).st_size, s.st_mtime_ns, s.st_ctime_ns)
            for file in sorted(files)
        )
    except OSError:  # removed meanwhile
        return None


def _inside(entry: Path) -> list[Path]:
    """The file itself, or all files, links and pipes below the folder; links are not followed."""
    if entry.is_file():
        return [entry]
    return [path for path in entry.rglob("*") if path.is_symlink() or not path.is_dir()]


def _is_plain(entry: Path) -> bool:
    """Whether it holds files and folders only.

    A link could lead to scans that its sender may not read, and reading a pipe may never end.
    """
    return all(stat.S_ISREG(path.lstat().st_mode) for path in _inside(entry))


def _unread_name(state: State) -> str:
    """Name in place of the content hash, for an entry that is not read."""
    return hashlib.sha256(repr(state).encode(errors="surrogatepass")).hexdigest()


def _special_file(arrival: Arrival) -> DataError:
    return DataError(
        "the entry holds a link, a pipe or another special file",
        where=arrival.content[:16],
        rule="an entry of the inbox consists of files and folders",
        remedy="send the files themselves",
        code="inbox-link",
    )


def _copy_folder(source: Path, target: Path) -> None:
    """Copy bytes only: a folder that keeps a mode without writing could not be removed."""
    for place, _, names in os.walk(source):
        made = target / os.path.relpath(place, source)
        made.mkdir(parents=True, exist_ok=True)
        for name in names:
            _copy_file(Path(place) / name, made / name)


def _copy_file(source: Path, target: Path) -> None:
    """Fails for a link and does not wait for a pipe, should one have taken the file's place."""
    handle = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as reader, target.open("xb") as writer:
        shutil.copyfileobj(reader, writer, 1 << 20)


def _notes(states: dict[str, State], unread: int) -> list[str]:
    latest_ns = (time.time() + _CLOCKS_APART_S) * 1e9
    future = sum(
        any(max(modified, changed) > latest_ns for *_, modified, changed in state)
        for state in states.values()
    )
    notes = []
    if future:
        notes.append(
            f"{future} of {len(states)} entries hold files dated in the future: a clock is wrong; "
            "they are taken once two checks in a row find them unchanged"
        )
    if unread:
        notes.append(f"{unread} of {len(states)} entries cannot be read: look at their permissions")
    return notes


def open_inbox(place: str, *, settle_s: float, memory: Path | None = None) -> Inbox:
    """The inbox at a folder, ``file://`` or ``s3://`` URL.

    Parameters
    ----------
    settle_s
        Time for which an entry must be unchanged to count as complete [s]; more than 0.
    memory
        File that keeps the states of entries between processes; None: they are kept in memory.
    """
    if settle_s <= 0:
        raise UsageError(
            f"--settle is {settle_s:g} s, so a scan is taken while it is being copied",
            rule="an entry counts as complete when it has not changed for a while",
            remedy="give it the longest pause of a transfer; 10 s are usual",
            code="no-settling",
        )
    observations = Observations(memory)
    if place.startswith("s3://"):
        require_store(place)
        return PrefixInbox(place, settle_s, observations)
    root = Path(place.removeprefix("file://"))
    if not root.is_dir():
        raise UsageError(
            "there is no such folder",
            where=place,
            rule="the inbox is a folder that exists, or an s3:// URL",
            remedy="make it, or name another",
            code="no-inbox",
        )
    return FolderInbox(root, settle_s, observations)
