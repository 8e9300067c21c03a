"""Scans that arrive in a folder or under an S3 prefix: which are there, and whole."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from synthct.data.errors import MachineError, UsageError
from synthct.data.files import content_hash, copy_tree

UNFINISHED = (".part", ".tmp", ".crdownload", ".filepart")
"""Endings that programs give to files they are still writing."""


@dataclass(frozen=True)
class Arrival:
    """One entry of the inbox: a file, a zip or a folder of one scan.

    Parameters
    ----------
    name
        As the sender called it; it may identify a patient and stays in the inbox.
    content
        Hash that names the entry's bytes.
    """

    name: str
    content: str


class Inbox(Protocol):
    """Where scans arrive."""

    def arrivals(self) -> list[Arrival]:
        """Entries that are whole, by name."""

    def fetch(self, arrival: Arrival, folder: Path) -> Path:
        """The scan on this machine; a copy goes into ``folder``."""


@dataclass
class FolderInbox:
    """A folder: each entry is a scan, taken once nothing in it has changed for ``settle_s``."""

    root: Path
    settle_s: float = 10.0
    _hashes: dict[Any, str] = field(default_factory=dict)

    def arrivals(self) -> list[Arrival]:
        """Hashes an entry once for each state of its files."""
        found = []
        for entry in sorted(self.root.iterdir()):
            state = _state(entry)
            if state is None or not self._settled(state):
                continue
            if state not in self._hashes:
                self._hashes[state] = content_hash(entry)
            found.append(Arrival(entry.name, self._hashes[state]))
        return found

    def _settled(self, state: tuple[tuple[str, int, int], ...]) -> bool:
        newest_ns = max(changed for _, _, changed in state)
        return time.time() - newest_ns / 1e9 >= self.settle_s

    def fetch(self, arrival: Arrival, folder: Path) -> Path:
        """A copy, whose bytes are those that were seen: the sender may write on meanwhile."""
        source, target = self.root / arrival.name, folder / f"scan{_suffixes(arrival.name)}"
        if source.is_dir():
            target = folder / "scan"
            copy_tree(source, target)
        else:
            target.write_bytes(source.read_bytes())
        if content_hash(target) != arrival.content:
            raise _changed(arrival)
        return target


def _state(entry: Path) -> tuple[tuple[str, int, int], ...] | None:
    """(name, size, time of change) of every file; None for what is no scan yet."""
    files = [entry] if entry.is_file() else [p for p in entry.rglob("*") if p.is_file()]
    if entry.name.startswith(".") or entry.is_symlink() or not files:
        return None
    if any(file.name.lower().endswith(UNFINISHED) for file in files):
        return None
    try:
        return tuple(
            (str(file), (stat := file.stat()).st_size, stat.st_mtime_ns) for file in sorted(files)
        )
    except FileNotFoundError:  # taken away while we looked
        return None


@dataclass
class PrefixInbox:
    """An S3 prefix: each object or "folder" directly below it is a scan.

    Objects appear whole; a folder of them is taken once none has changed for ``settle_s``.
    """

    url: str
    settle_s: float = 10.0
    _seen: dict[str, tuple[str, float]] = field(default_factory=dict)

    def arrivals(self) -> list[Arrival]:
        """Entries whose objects (names, sizes, ETags) were the same ``settle_s`` ago."""
        system, root = self._system()
        system.invalidate_cache()
        groups: dict[str, list[str]] = {}
        for path, about in sorted(system.find(root, detail=True).items()):
            relative = PurePosixPath(path).relative_to(root)
            if relative.parts and not relative.name.endswith(UNFINISHED):
                line = f"{relative}\0{about['size']}\0{about.get('ETag', '')}"
                groups.setdefault(relative.parts[0], []).append(line)
        now = time.monotonic()
        found = []
        for name, lines in groups.items():
            content = hashlib.sha256("\n".join(lines).encode()).hexdigest()
            known, since = self._seen.get(name, ("", now))
            since = since if known == content else now
            self._seen[name] = (content, since)
            if now - since >= self.settle_s:
                found.append(Arrival(name, content))
        return found

    def fetch(self, arrival: Arrival, folder: Path) -> Path:
        """Download."""
        system, root = self._system()
        source = f"{root}/{arrival.name}"
        if system.isfile(source):
            target = folder / f"scan{_suffixes(arrival.name)}"
            system.get_file(source, str(target))
            return target
        target = folder / "scan"
        for path in system.find(source):
            local = target / PurePosixPath(path).relative_to(source)
            local.parent.mkdir(parents=True, exist_ok=True)
            system.get_file(path, str(local))
        return target

    def _system(self) -> tuple[Any, str]:
        import fsspec

        system, path = fsspec.url_to_fs(self.url)
        return system, str(path).rstrip("/")


def open_inbox(place: str, *, settle_s: float) -> Inbox:
    """The inbox at a folder, ``file://`` or ``s3://`` URL."""
    if place.startswith("s3://"):
        return PrefixInbox(place, settle_s)
    root = Path(place.removeprefix("file://"))
    if not root.is_dir():
        raise UsageError(
            "the inbox is a folder that exists, or an s3:// URL",
            where=place,
            got="no such folder",
            remedy="make it, or name another",
            code="no-inbox",
        )
    return FolderInbox(root, settle_s)


def _suffixes(name: str) -> str:
    """``.nii.gz`` of ``a.b.nii.gz``: what the reader tells the format by."""
    parts = PurePosixPath(name).suffixes
    return "".join(parts[-2:]) if parts[-1:] == [".gz"] else "".join(parts[-1:])


def _changed(arrival: Arrival) -> MachineError:
    return MachineError(
        "an entry of the inbox stays as it is while it is read",
        where=arrival.content[:16],
        got="other bytes than a moment ago",
        remedy="nothing: it is taken when it has settled (--settle)",
        code="inbox-changed",
    )
