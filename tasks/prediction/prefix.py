"""An S3 prefix as an inbox."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from synthct.data.errors import DataError, UsageError
from synthct.data.store.connection import connect, download, object_path, version
from synthct.data.store.outage import SAME_ANSWER, WrongBytes, survive
from synthct.tasks.prediction.arrival import (
    NOTHING_PENDING,
    UNFINISHED,
    Arrival,
    Pending,
    inbox_changed,
    pending,
    suffixes,
)
from synthct.tasks.prediction.looks import Looks

Group = dict[str, dict[str, Any]]
"""Objects of one entry: what the store says of each, by its name below the prefix."""


@dataclass
class PrefixInbox:
    """An S3 prefix: each object or "folder" directly below it is a scan.

    An entry is taken once its objects (names, sizes, ETags, dates) have been the same for
    ``settle_s`` and none has a name that programs give to files they are still writing. What is
    downloaded is compared with what was listed.
    """

    url: str
    settle_s: float = 10.0
    looks: Looks = field(default_factory=Looks)
    pending: Pending = NOTHING_PENDING
    notes: Sequence[str] = ()

    def arrivals(self) -> list[Arrival]:
        """Entries that are whole."""
        states = {
            name: _content(group)
            for name, group in self._groups().items()
            if not any(key.lower().endswith(UNFINISHED) for key in group)
        }
        quiet = self.looks.see(states)
        whole = [name for name in sorted(states) if quiet[name] >= self.settle_s]
        waiting = [(quiet[n], self.looks.known_s(n)) for n in states if quiet[n] < self.settle_s]
        self.pending = pending(waiting, self.settle_s)
        return [Arrival(name, states[name], self.looks.known_s(name)) for name in whole]

    def fetch(self, arrival: Arrival, folder: Path) -> Path:
        """Download.

        Raises
        ------
        DataError
            ``object-name``: an object that would be written outside of ``folder``.
        MachineError
            ``inbox-changed``, or what :func:`synthct.data.store.outage.survive` tells of the store.
        """
        group = self._groups().get(arrival.name, {})
        if _content(group) != arrival.content:
            raise inbox_changed(arrival)
        where = f"scan {arrival.content[:16]}"
        object_path(arrival.name, where=where)
        target = folder / "scan"
        if list(group) == [arrival.name]:
            target = folder / f"scan{suffixes(arrival.name)}"
            self._download(arrival, arrival.name, target, group)
        else:
            for name, place in _places(group, arrival.name, where).items():
                self._download(arrival, name, target / place, group)
        if _content(self._groups().get(arrival.name, {})) != arrival.content:
            raise inbox_changed(arrival)
        return target

    def _download(self, arrival: Arrival, name: str, target: Path, group: Group) -> None:
        system, root = connect(self.url)
        try:
            survive(
                lambda: download(system, f"{root}/{name}", target, group[name]),
                where=f"{self.url}, scan {arrival.content[:16]}",
                same_answer=SAME_ANSWER,
            )
        except (WrongBytes, FileNotFoundError) as error:
            raise inbox_changed(arrival) from error

    def _groups(self) -> dict[str, Group]:
        system, root = connect(self.url)

        def once() -> dict[str, dict[str, Any]]:
            system.invalidate_cache()
            return dict(system.find(root, detail=True))

        groups: dict[str, Group] = {}
        listed = survive(once, where=self.url)
        if set(listed) == {root}:
            raise UsageError(
                "the inbox is an object",
                where=self.url,
                rule="the inbox is a prefix, below which scans are put",
                remedy="name the prefix",
                code="no-inbox",
            )
        for path, about in sorted(listed.items()):
            # By text: a path would make one name of `a//b`, `a/./b` and `a/b`.
            name = path.removeprefix(f"{root}/")
            placeholder = not about["size"] and path.endswith("/")  # a console's empty folder
            if path != root and not placeholder:
                groups.setdefault(name.split("/")[0], {})[name] = about
        return groups


def _content(group: Group) -> str:
    lines = [f"{name}\0{version(about)}" for name, about in sorted(group.items())]
    return hashlib.sha256("\n".join(lines).encode(errors="surrogatepass")).hexdigest()


def _places(group: Group, entry: str, where: str) -> dict[str, Path]:
    """Where each object of an entry goes, below its folder."""
    places = {
        name: object_path(name.removeprefix(f"{entry}/"), where=where)
        for name in group
        if name != entry
    }
    files = {PurePosixPath(place) for place in places.values()}
    branches = {parent for file in files for parent in file.parents}
    if entry in group or files & branches:
        raise DataError(
            "an object has the name of a folder of other objects",
            where=where,
            rule="a name is that of an object or of a folder",
            remedy="send the scan again under another name",
            code="object-name",
        )
    return places
