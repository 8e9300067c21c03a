"""An S3 prefix as an inbox."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from synthct.data.errors import DataError, UsageError
from synthct.data.store.connection import connect, download, object_path, version
from synthct.data.store.outage import SAME_ANSWER, WrongBytes, call_with_retries
from synthct.tasks.prediction.arrival import (
    NOTHING_PENDING,
    UNFINISHED,
    Arrival,
    Pending,
    inbox_changed,
    pending,
    suffixes,
)
from synthct.tasks.prediction.observations import Observations

Group = dict[str, dict[str, Any]]
"""Objects of one entry: information of the store on each, by its name below the prefix."""


@dataclass
class PrefixInbox:
    """An S3 prefix: each object or "folder" directly below it is a scan.

    An entry is complete once its objects (names, sizes, ETags, dates) are unchanged for
    ``settle_s`` and none has a name that programs give to unfinished files. Downloads are compared
    with the listing.
    """

    url: str
    settle_s: float = 10.0
    observations: Observations = field(default_factory=Observations)
    pending: Pending = NOTHING_PENDING
    notes: Sequence[str] = ()

    def arrivals(self) -> list[Arrival]:
        """Complete entries."""
        states = {
            name: _content(group)
            for name, group in self._groups().items()
            if not any(key.lower().endswith(UNFINISHED) for key in group)
        }
        quiet = self.observations.update(states)
        whole = [name for name in sorted(states) if quiet[name] >= self.settle_s]
        waiting = [
            (quiet[n], self.observations.known_s(n)) for n in states if quiet[n] < self.settle_s
        ]
        self.pending = pending(waiting, self.settle_s)
        return [Arrival(name, states[name], self.observations.known_s(name)) for name in whole]

    def fetch(self, arrival: Arrival, folder: Path) -> Path:
        """Download.

        Raises
        ------
        DataError
            ``object-name``: an object that would be written outside of ``folder``.
        MachineError
            ``inbox-changed``, or an error of the store
            (:func:`synthct.data.store.outage.call_with_retries`).
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
            call_with_retries(
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
        listed = call_with_retries(once, where=self.url)
        if set(listed) == {root}:
            raise UsageError(
                "the inbox is an object",
                where=self.url,
                rule="the inbox is a prefix, below which scans are put",
                remedy="name the prefix",
                code="no-inbox",
            )
        for path, about in sorted(listed.items()):
            # As text: a path would make `a//b`, `a/./b` and `a/b` the same name.
            name = path.removeprefix(f"{root}/")
            placeholder = not about["size"] and path.endswith("/")  # a console's empty folder
            if path != root and not placeholder:
                groups.setdefault(name.split("/")[0], {})[name] = about
        return groups


def _content(group: Group) -> str:
    lines = [f"{name}\0{version(about)}" for name, about in sorted(group.items())]
    return hashlib.sha256("\n".join(lines).encode(errors="surrogatepass")).hexdigest()


def _places(group: Group, entry: str, where: str) -> dict[str, Path]:
    """Target of each object of an entry, below its folder."""
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
