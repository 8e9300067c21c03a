"""Results of single cases, folds and grid points, named by the hash of what made them.

A unit is published in one rename, so a kill leaves it absent or whole. The store outlives the
stages' outs (DVC removes those before a run) and is shared by all worktrees of a repository.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import fsspec

from synthct.data.errors import UsageError
from synthct.data.files import content_hash, copy_tree, sync_tree, write_whole
from synthct.data.layout import default_root
from synthct.data.store.outage import survive

VARIABLE = "SYNTHCT_UNITS"
"""URL of the store: a folder, ``file://`` or ``s3://``; unset: beside git's common directory."""

_HASH = "content.sha256"
_FILES = "files"


class ResultCache(Protocol):
    """Folders by key."""

    def has(self, key: str) -> bool:
        """Whether the unit is there, whole."""

    def fetch(self, key: str, target: Path) -> bool:
        """Copy the unit to ``target`` and check it; a damaged unit is dropped and gives False."""

    def publish(self, key: str, folder: Path) -> None:
        """Add the content of ``folder`` under ``key``; a unit that is already there stays."""

    def keys(self) -> Iterator[str]:
        """All keys."""

    def age_s(self, key: str) -> float:
        """Seconds since the unit was published."""

    def remove(self, key: str) -> None:
        """Forget a unit."""

    def texts(self, name: str) -> Iterator[str]:
        """What every file so named says, of all units."""


@dataclass(frozen=True)
class LocalResults:
    """Units in a folder of this machine or of a shared file system."""

    root: Path

    def _folder(self, key: str) -> Path:
        return self.root / key[:2] / key

    def has(self, key: str) -> bool:
        """Whether the unit is there: published folders are always whole."""
        return (self._folder(key) / _HASH).is_file()

    def fetch(self, key: str, target: Path) -> bool:
        """Copy and verify."""
        if not self.has(key):
            return False
        source = self._folder(key)
        copy_tree(source / _FILES, target)
        if content_hash(target) == (source / _HASH).read_text():
            return True
        shutil.rmtree(target)
        self.remove(key)
        return False

    def publish(self, key: str, folder: Path) -> None:
        """Copy into a temporary sibling, sync, rename."""
        if self.has(key):
            return
        target = self._folder(key)
        target.parent.mkdir(parents=True, exist_ok=True)
        building = Path(tempfile.mkdtemp(dir=self.root, prefix=".building."))
        try:
            copy_tree(folder, building / _FILES)
            write_whole(building / _HASH, content_hash(building / _FILES))
            sync_tree(building)
            os.chmod(building, 0o755)
            os.rename(building, target)
        except OSError:
            shutil.rmtree(building, ignore_errors=True)
            if not self.has(key):  # another worker was first: its unit has the same content
                raise

    def keys(self) -> Iterator[str]:
        """All published keys."""
        if self.root.is_dir():
            for shelf in sorted(self.root.iterdir()):
                if len(shelf.name) == 2:
                    yield from sorted(unit.name for unit in shelf.iterdir())

    def age_s(self, key: str) -> float:
        """Since it was renamed into place, as the file system tells it; gone: 0."""
        try:
            return time.time() - (self._folder(key) / _HASH).stat().st_mtime
        except FileNotFoundError:
            return 0.0

    def texts(self, name: str) -> Iterator[str]:
        """Files of that name in any folder of any unit."""
        for file in self.root.glob(f"??/*/{_FILES}/**/{name}"):
            with contextlib.suppress(FileNotFoundError):  # its unit was removed meanwhile
                yield file.read_text()

    def remove(self, key: str) -> None:
        """Rename away, then delete, so that no half-deleted unit is ever found."""
        with contextlib.suppress(FileNotFoundError):
            doomed = Path(tempfile.mkdtemp(dir=self.root, prefix=".building."))
            os.rename(self._folder(key), doomed / key)
            shutil.rmtree(doomed, ignore_errors=True)


@dataclass(frozen=True)
class RemoteResults:
    """Units on an object store: files first, the content hash last.

    Outages of minutes are waited for (``data/store/outage.py``); a refusal is a fault at once.
    """

    url: str

    def _path(self, key: str) -> str:
        return f"{self.url.rstrip('/')}/{key[:2]}/{key}"

    def has(self, key: str) -> bool:
        """Whether the hash, uploaded last, is there."""
        return survive(lambda: self._has(key), where=self._path(key))

    def _has(self, key: str) -> bool:
        system, path = fsspec.url_to_fs(self._path(key))
        system.invalidate_cache()
        try:
            system.info(f"{path}/{_HASH}")  # exists() would call a server error "absent"
        except FileNotFoundError:
            return False
        return True

    def fetch(self, key: str, target: Path) -> bool:
        """Download and verify; what an outage cut short is downloaded again."""
        if not self.has(key):
            return False
        expected = survive(lambda: self._download(key, target), where=self._path(key))
        if content_hash(target) == expected:
            return True
        shutil.rmtree(target)
        self.remove(key)
        return False

    def _download(self, key: str, target: Path) -> str:
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        system, path = fsspec.url_to_fs(self._path(key))
        expected: str = system.cat_file(f"{path}/{_HASH}").decode()
        for name, entry in system.find(f"{path}/{_FILES}", detail=True).items():
            local = target / name.split(f"/{key}/{_FILES}/", 1)[1]
            local.parent.mkdir(parents=True, exist_ok=True)
            system.get_file(name, str(local))
            if local.stat().st_size != entry["size"]:
                raise ConnectionError(f"{name}: {local.stat().st_size} of {entry['size']} bytes")
        return expected

    def publish(self, key: str, folder: Path) -> None:
        """Upload the files, then the hash that makes them visible."""
        if not self.has(key):
            survive(lambda: self._upload(key, folder), where=self._path(key))

    def _upload(self, key: str, folder: Path) -> None:
        system, path = fsspec.url_to_fs(self._path(key))
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                system.put_file(str(file), f"{path}/{_FILES}/{file.relative_to(folder).as_posix()}")
        system.pipe_file(f"{path}/{_HASH}", content_hash(folder).encode())

    def keys(self) -> Iterator[str]:
        """All published keys."""
        yield from survive(self._keys, where=self.url)

    def _keys(self) -> list[str]:
        system, path = fsspec.url_to_fs(self.url)
        system.invalidate_cache()
        found = system.glob(f"{path.rstrip('/')}/*/*/{_HASH}")
        return [name.rsplit("/", 2)[1] for name in sorted(found)]

    def age_s(self, key: str) -> float:
        """Since its hash was uploaded, by the store's own clock."""
        system, path = fsspec.url_to_fs(self._path(key))
        made = survive(lambda: system.modified(f"{path}/{_HASH}"), where=self._path(key))
        return time.time() - float(made.timestamp())

    def texts(self, name: str) -> Iterator[str]:
        """Files of that name in any folder of any unit."""
        yield from survive(lambda: self._texts(name), where=self.url)

    def _texts(self, name: str) -> list[str]:
        system, path = fsspec.url_to_fs(self.url)
        system.invalidate_cache()
        found = [each for each in system.find(path) if each.rsplit("/", 1)[-1] == name]
        return [system.cat_file(each).decode() for each in found]

    def remove(self, key: str) -> None:
        """Hash first, so that no half-deleted unit is ever found."""
        survive(lambda: self._remove(key), where=self._path(key))

    def _remove(self, key: str) -> None:
        system, path = fsspec.url_to_fs(self._path(key))
        with contextlib.suppress(FileNotFoundError):
            system.rm_file(f"{path}/{_HASH}")
            system.rm(path, recursive=True)


def open_result_cache(url: str | None = None) -> ResultCache:
    """The store at ``url``, else at ``$SYNTHCT_UNITS``, else beside git's common directory."""
    url = url or os.environ.get(VARIABLE) or str(default_root() / "units")
    if url.startswith("s3://"):
        return RemoteResults(url)
    if "://" in url and not url.startswith("file://"):
        raise UsageError(
            "the result cache is a folder, file:// or s3:// URL", where=VARIABLE, got=url
        )
    root = Path(url.removeprefix("file://")).absolute()
    root.mkdir(parents=True, exist_ok=True)
    return LocalResults(root)
