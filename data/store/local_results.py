"""Units in a folder of this machine or of a shared file system."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from synthct.data.environment import UNITS
from synthct.data.errors import UsageError
from synthct.data.files import content_hash, copy_tree, sync_tree, write_whole
from synthct.data.store.unit_files import (
    FILES,
    HASH,
    LISTING,
    RECORD,
    RUNS,
    damage,
    damaged_unit,
    is_key,
    listing_of,
    require_key,
    take_modes,
    unreadable,
)

_BROKEN = ".broken"
"""Folder for damaged units, kept for inspection."""


@dataclass(frozen=True)
class LocalResults:
    """Units in a folder of this machine or of a shared file system."""

    root: Path

    def _folder(self, key: str) -> Path:
        return self.root / key[:2] / require_key(key)

    def has(self, key: str) -> bool:
        """Whether the unit is there: published folders are whole."""
        folder = self._folder(key)
        return (folder / HASH).is_file() and (folder / FILES).is_dir()

    def fetch(self, key: str, target: Path) -> bool:
        """Copy and verify."""
        if not self.has(key):
            return False
        source = self._folder(key)
        try:
            copy_tree(source / FILES, target)
            listed = source / LISTING
            found = damage(target, listed.read_text(errors="replace") if listed.is_file() else "")
        except OSError:  # of a bad disk, which is damage, or of the target
            found = unreadable(source / FILES)
            if found is None:
                raise
        if found is None:
            return True
        shutil.rmtree(target, ignore_errors=True)
        raise damaged_unit(str(source / FILES / found[0]), found[1], f"moved to {self._aside(key)}")

    def _aside(self, key: str) -> Path:
        """Move a damaged unit away; returns the new path."""
        if not (self.root / _BROKEN).is_dir():
            (self.root / _BROKEN).mkdir(exist_ok=True)
            take_modes(self.root / _BROKEN, self.root)
        aside = Path(tempfile.mkdtemp(dir=self.root / _BROKEN, prefix=f"{key[:12]}."))
        with contextlib.suppress(FileNotFoundError):
            os.rename(self._folder(key), aside / key)
        return aside

    def publish(self, key: str, folder: Path, record: str = "") -> None:
        """Copy into a temporary sibling, sync, rename."""
        if self.has(key):
            return
        target = self._folder(key)
        if not target.parent.is_dir():
            target.parent.mkdir(parents=True, exist_ok=True)
            take_modes(target.parent, self.root)
        building = Path(tempfile.mkdtemp(dir=self.root, prefix=".building."))
        try:
            copy_tree(folder, building / FILES)
            write_whole(building / LISTING, listing_of(building / FILES))
            if record:
                write_whole(building / RECORD, record)
            write_whole(building / HASH, content_hash(building / FILES))
            sync_tree(building)
            take_modes(building, self.root)
            if target.exists() and not self.has(key):
                self._aside(key)
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
                    yield from sorted(each.name for each in shelf.iterdir() if is_key(each.name))

    def age_s(self, key: str) -> float:
        """Age since publication, by the file system's clock [s]; 0 if the unit is missing."""
        try:
            return time.time() - (self._folder(key) / HASH).stat().st_mtime
        except FileNotFoundError:
            return 0.0

    def touch(self, key: str) -> None:
        """Renew the date; for another user's unit only if the store is shared for writing."""
        with contextlib.suppress(FileNotFoundError, PermissionError):
            os.utime(self._folder(key) / HASH)

    def place(self) -> Path:
        """The store's root."""
        return self.root

    def leave_token(self, token: str) -> None:
        """A file; the subfolders must be writable too, which another user may have made."""
        self.root.mkdir(parents=True, exist_ok=True)
        shelves = [path for path in self.root.glob("??") if path.is_dir()]
        barred = [path for path in (self.root, *shelves) if not os.access(path, os.W_OK | os.X_OK)]
        if barred:
            raise _not_writable(self.root, barred[0])
        runs = self.root / RUNS
        try:
            runs.mkdir(exist_ok=True)
            take_modes(runs, self.root)
        except PermissionError:
            pass  # another user's folder: whether it is writable is tested next
        try:
            (runs / token).touch()
        except PermissionError as error:
            raise _not_writable(self.root, runs) from error

    def sees(self, token: str) -> bool:
        """Whether the token file exists."""
        return (self.root / RUNS / token).is_file()

    def drop_token(self, token: str) -> None:
        """Remove the file."""
        (self.root / RUNS / token).unlink(missing_ok=True)

    def sweep(self, min_age_s: float) -> int:
        """Remove old damaged units, incomplete ones and tokens; returns their number."""
        count = 0
        for path in (*self.root.glob(".building.*"), *self.root.glob(f"{_BROKEN}/*"),
                     *self.root.glob(f"{RUNS}/*")):  # fmt: skip
            if time.time() - path.stat().st_mtime >= min_age_s:
                path.unlink() if path.is_file() else shutil.rmtree(path, ignore_errors=True)
                count += 1
        return count

    def texts(self, name: str) -> Iterator[str]:
        """Files of that name in any folder of any unit."""
        for file in self.root.glob(f"??/*/{FILES}/**/{name}"):
            with contextlib.suppress(FileNotFoundError):  # its unit was removed meanwhile
                yield file.read_text()

    def remove(self, key: str) -> None:
        """Rename away, then delete, so that no half-deleted unit is ever found."""
        with contextlib.suppress(FileNotFoundError):
            doomed = Path(tempfile.mkdtemp(dir=self.root, prefix=".building."))
            os.rename(self._folder(key), doomed / key)
            shutil.rmtree(doomed, ignore_errors=True)


def _not_writable(root: Path, barred: Path) -> UsageError:
    return UsageError(
        f"you may not write {barred}",
        rule="everyone who runs stages may write to the whole result cache",
        where=str(root),
        remedy=f"share it with a group: `chgrp -R GROUP {root}; chmod -R g+rwX {root}; "
        f"find {root} -type d -exec chmod g+s {{}} +`; or set {UNITS} to a store of your own",
        code="units-not-writable",
    )
