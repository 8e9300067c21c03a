"""Results of single cases, folds and grid points, named by the hash of everything they depend on.

A unit is published in one rename, so a kill leaves it absent or whole. The store outlives the
stages' outs (DVC removes those before a run) and is shared by all worktrees of a repository.
Every file is verified when a unit is handed out; a damaged unit is moved away and computed again.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from synthct.data.environment import UNITS
from synthct.data.errors import DataError, UsageError
from synthct.data.files import content_hash
from synthct.data.layout import default_root
from synthct.data.store import unit_files
from synthct.data.store.connection import (
    connect,
    download,
    object_path,
    require_store,
)
from synthct.data.store.local_results import LocalResults
from synthct.data.store.outage import SAME_ANSWER, WrongBytes, call_with_retries, no_bucket

__all__ = ["LocalResults", "RemoteResults", "ResultCache", "open_result_cache"]


class ResultCache(Protocol):
    """Folders by key."""

    def has(self, key: str) -> bool:
        """Whether the unit is there, whole."""

    def fetch(self, key: str, target: Path) -> bool:
        """Copy the unit to ``target`` and verify every file; False: it is not there.

        Raises
        ------
        MachineError
            ``unit-damaged``, with the file. Unit and ``target`` were removed.
        """

    def publish(self, key: str, folder: Path, record: str = "") -> None:
        """Add the content of ``folder`` under ``key``; a unit that is already there stays.

        ``record`` describes, as JSON, what computed it.
        """

    def keys(self) -> Iterator[str]:
        """All keys."""

    def age_s(self, key: str) -> float:
        """Seconds since the unit was published."""

    def touch(self, key: str) -> None:
        """Renew the date of the unit: a run needs it."""

    def remove(self, key: str) -> None:
        """Remove a unit."""

    def place(self) -> Path:
        """Folder whose lock (``data/store/cache_lock.py``) a run holds."""

    def leave_token(self, token: str) -> None:
        """Write a token that all users of the store see; refuse a store that is not writable.

        Raises
        ------
        UsageError
            ``units-not-writable``.
        """

    def sees(self, token: str) -> bool:
        """Whether the token is visible."""

    def drop_token(self, token: str) -> None:
        """Remove the token."""

    def texts(self, name: str) -> Iterator[str]:
        """Texts of all files of that name, of all units."""


@dataclass(frozen=True)
class RemoteResults:
    """Units on an object store: files first, the content hash last.

    Outages of minutes are waited for (``data/store/outage.py``); a refusal raises at once.
    """

    url: str

    def _path(self, key: str) -> str:
        return f"{self.url.rstrip('/')}/{key[:2]}/{unit_files.require_key(key)}"

    def has(self, key: str) -> bool:
        """Whether the hash, uploaded last, is there."""
        return call_with_retries(lambda: self._has(key), where=self._path(key))

    def _has(self, key: str) -> bool:
        system, path = connect(self._path(key))
        system.invalidate_cache()
        try:
            system.info(f"{path}/{unit_files.HASH}")  # exists() would call a server error "absent"
        except FileNotFoundError:
            return False
        return True

    def fetch(self, key: str, target: Path) -> bool:
        """Download and verify; what an outage cut short is downloaded again."""
        if not self.has(key):
            return False
        try:
            listed = call_with_retries(
                lambda: self._download(key, target), where=self._path(key), same_answer=SAME_ANSWER
            )
            found = unit_files.damage(target, listed)
        except (DataError, WrongBytes) as error:  # an object name that no unit has, or other bytes
            reason = error.problem if isinstance(error, DataError) else str(error)
            found = "", f"cannot be downloaded ({reason})"
        if found is None:
            return True
        shutil.rmtree(target)
        self.remove(key)
        raise unit_files.damaged_unit(
            f"{self._path(key)}/{unit_files.FILES}/{found[0]}", found[1], "removed"
        )

    def _download(self, key: str, target: Path) -> str:
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        system, path = connect(self._path(key))
        system.invalidate_cache()
        try:
            listed: str = system.cat_file(f"{path}/{unit_files.LISTING}").decode(errors="replace")
        except FileNotFoundError:
            listed = ""
        prefix = f"{path}/{unit_files.FILES}/"
        for name, entry in system.find(prefix.rstrip("/"), detail=True).items():
            inside = object_path(name.removeprefix(prefix), where=self._path(key))
            download(system, name, target / inside, entry)
        return listed

    def publish(self, key: str, folder: Path, record: str = "") -> None:
        """Upload the files, then the hash that makes them visible."""
        if self.has(key):
            return
        try:
            call_with_retries(lambda: self._upload(key, folder, record), where=self._path(key))
        except FileNotFoundError as error:
            raise no_bucket(self._path(key)) from error

    def _upload(self, key: str, folder: Path, record: str) -> None:
        system, path = connect(self._path(key))
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                system.put_file(
                    str(file), f"{path}/{unit_files.FILES}/{file.relative_to(folder).as_posix()}"
                )
        system.pipe_file(f"{path}/{unit_files.LISTING}", unit_files.listing_of(folder).encode())
        if record:
            system.pipe_file(f"{path}/{unit_files.RECORD}", record.encode())
        system.pipe_file(f"{path}/{unit_files.HASH}", content_hash(folder).encode())

    def keys(self) -> Iterator[str]:
        """All published keys."""
        yield from call_with_retries(self._keys, where=self.url)

    def _keys(self) -> list[str]:
        system, path = connect(self.url)
        system.invalidate_cache()
        found = system.glob(f"{path.rstrip('/')}/*/*/{unit_files.HASH}")
        return [name.rsplit("/", 2)[1] for name in sorted(found)]

    def age_s(self, key: str) -> float:
        """Since its hash was uploaded, by the store's own clock."""
        system, path = connect(self._path(key))
        made = call_with_retries(
            lambda: system.modified(f"{path}/{unit_files.HASH}"), where=self._path(key)
        )
        return time.time() - float(made.timestamp())

    def touch(self, key: str) -> None:
        """Write the hash again."""
        call_with_retries(lambda: self._touch(key), where=self._path(key))

    def _touch(self, key: str) -> None:
        system, path = connect(self._path(key))
        with contextlib.suppress(FileNotFoundError):
            system.pipe_file(
                f"{path}/{unit_files.HASH}", system.cat_file(f"{path}/{unit_files.HASH}")
            )

    def place(self) -> Path:
        """A folder of the checkout; the age of units protects the runs of other checkouts."""
        return default_root() / "units-remote"

    def leave_token(self, token: str) -> None:
        """An object."""
        require_store(self.url)
        system, path = connect(f"{self.url.rstrip('/')}/{unit_files.RUNS}/{token}")
        call_with_retries(lambda: system.pipe_file(path, b"run"), where=self.url)

    def sees(self, token: str) -> bool:
        """Whether the token object exists."""
        system, path = connect(f"{self.url.rstrip('/')}/{unit_files.RUNS}/{token}")

        def once() -> bool:
            system.invalidate_cache()
            try:
                system.info(path)
            except FileNotFoundError:
                return False
            return True

        return call_with_retries(once, where=self.url)

    def drop_token(self, token: str) -> None:
        """Remove the object."""
        system, path = connect(f"{self.url.rstrip('/')}/{unit_files.RUNS}/{token}")

        def once() -> None:
            with contextlib.suppress(FileNotFoundError):
                system.rm_file(path)

        call_with_retries(once, where=self.url)

    def texts(self, name: str) -> Iterator[str]:
        """Files of that name in any folder of any unit."""
        yield from call_with_retries(lambda: self._texts(name), where=self.url)

    def _texts(self, name: str) -> list[str]:
        system, path = connect(self.url)
        system.invalidate_cache()
        found = [each for each in system.find(path) if each.rsplit("/", 1)[-1] == name]
        return [system.cat_file(each).decode() for each in found]

    def remove(self, key: str) -> None:
        """Hash first, so that no half-deleted unit is ever found."""
        call_with_retries(lambda: self._remove(key), where=self._path(key))

    def _remove(self, key: str) -> None:
        system, path = connect(self._path(key))
        with contextlib.suppress(FileNotFoundError):
            system.rm_file(f"{path}/{unit_files.HASH}")
            system.rm(path, recursive=True)


def open_result_cache(url: str | None = None) -> ResultCache:
    """The store at ``url``, else at ``$SYNTHCT_UNITS``, else beside git's common directory."""
    url = url or os.environ.get(UNITS) or str(default_root() / "units")
    if url.startswith("s3://"):
        return RemoteResults(url)
    if "://" in url and not url.startswith("file://"):
        raise UsageError(
            f"the URL {url} is not supported",
            rule="the result cache is a folder, or a file:// or s3:// URL",
            where=UNITS,
            code="bad-url",
        )
    root = Path(url.removeprefix("file://")).absolute()
    root.mkdir(parents=True, exist_ok=True)
    return LocalResults(root)
