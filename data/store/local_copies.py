"""Verified local copies of arrays whose voxels are on an object store: bounded, pinned while read.

A copy is renamed into place after the hash of every shard was verified. Readers pin it with a
shared lock of the file system, which ends with their process in every case. Eviction removes the
least recently used copies without a pin, because zarr would read the missing shard of an evicted
one as zeros.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from synthct.data.environment import ARRAYS, ARRAYS_COPIES, ARRAYS_COPIES_GB
from synthct.data.errors import MachineError, UsageError
from synthct.data.files import MANIFEST, RECEIPT
from synthct.data.layout import default_root
from synthct.data.store.objects import Objects
from synthct.data.store.receipts import Shard, arrays_url, require_receipt

_GB = 1e9


def pin(folder: Path, manifest: Mapping[str, Any]) -> tuple[Path, int]:
    """The whole local copy of the array at ``folder``, and the open file that keeps it there.

    Closing the file (``os.close``) releases the copy.

    Raises
    ------
    MachineError
        ``arrays-nowhere``: ``$SYNTHCT_ARRAYS`` is not set; ``array-missing``: an object is not
        there; ``store-damaged``: it has other bytes; ``storage-denied``, ``storage-away``.
    """
    shards = require_receipt(folder, manifest)
    root, name = _root(), hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()
    target = root / name[:2] / f"{name}.zarr"
    held = _lock(root, name, fcntl.LOCK_SH)
    try:
        if not target.is_dir():
            with _locked(root, f"{name}.fetching"):
                if not target.is_dir():
                    _fetch(folder, shards, root, target)
        os.utime(target)
    except BaseException:
        os.close(held)
        raise
    return target, held


@contextlib.contextmanager
def pinned(folder: Path, manifest: Mapping[str, Any]) -> Iterator[Path]:
    """As :func:`pin`, for the length of a block."""
    copy, held = pin(folder, manifest)
    try:
        yield copy
    finally:
        os.close(held)


def discard(copy: Path) -> bool:
    """Remove a local copy that is damaged; False where another process reads it."""
    try:
        with _locked(copy.parent.parent, copy.stem, fcntl.LOCK_NB):
            _remove(copy)
    except BlockingIOError:
        return False
    return True


def _fetch(folder: Path, shards: list[Shard], root: Path, target: Path) -> None:
    _evict(root, room=_size(folder) + sum(shard.size for shard in shards))
    objects = Objects(_url(folder))
    target.parent.mkdir(parents=True, exist_ok=True)
    building = root / f".building.{target.stem}"  # exclusive: the caller holds its lock
    shutil.rmtree(building, ignore_errors=True)
    try:
        shutil.copytree(folder, building, ignore=shutil.ignore_patterns(RECEIPT))
        for shard in shards:
            _fetch_shard(objects, shard, building, folder)
        os.rename(building, target)
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise


def _fetch_shard(objects: Objects, shard: Shard, building: Path, folder: Path) -> None:
    where = f"{objects.url}/{shard.object}"
    try:
        whole = objects.fetch(shard.object, building / shard.name, shard.sha256)
    except FileNotFoundError as error:
        raise MachineError(
            f"the object named by {folder / RECEIPT} does not exist (404)",
            where=where,
            rule="the object store holds every shard that a receipt lists",
            remedy=f"correct {ARRAYS}, or restore the object; else remove that folder and the "
            "cached result that holds it, and run its stage again",
            code="array-missing",
        ) from error
    if not whole:
        raise MachineError(
            "the content of the object does not match its name",
            where=where,
            rule="an object is named by the SHA-256 of its bytes",
            remedy="restore the object, or delete it and run the stage that writes it again",
            code="store-damaged",
        )


def _url(folder: Path) -> str:
    if url := arrays_url():
        return url
    raise MachineError(
        f"{ARRAYS} is not set",
        where=str(folder / RECEIPT),
        rule=f"the voxels of an array with a receipt are stored at the address in {ARRAYS}",
        remedy=f"set {ARRAYS} to the s3:// prefix or folder that was used when it was written",
        code="arrays-nowhere",
    )


def _root() -> Path:
    root = Path(os.environ.get(ARRAYS_COPIES) or default_root() / "arrays").absolute()
    (root / "locks").mkdir(parents=True, exist_ok=True)
    return root


def _limit() -> float:
    text = os.environ.get(ARRAYS_COPIES_GB, "20")
    try:
        return float(text) * _GB
    except ValueError as error:
        raise UsageError(
            f"{text!r} is not a number",
            rule="the size limit is a number in GB",
            where=ARRAYS_COPIES_GB,
            code="bad-size",
        ) from error


def _evict(root: Path, room: int) -> None:
    """Remove the least recently used copies until ``room`` bytes fit; pinned ones stay."""
    _sweep(root)
    copies = []
    for copy in root.glob("??/*.zarr"):
        with contextlib.suppress(FileNotFoundError):
            copies.append((copy.stat().st_mtime, _size(copy), copy))
    excess = sum(size for _, size, _ in copies) + room - _limit()
    for _, size, copy in sorted(copies):
        if excess <= 0:
            return
        with contextlib.suppress(BlockingIOError), _locked(root, copy.stem, fcntl.LOCK_NB):
            _remove(copy)
            excess -= size


def _sweep(root: Path) -> None:
    """Remove what a kill left half-fetched or half-deleted."""
    for left in root.glob(".building.*"):
        name = left.name.removeprefix(".building.")
        with contextlib.suppress(BlockingIOError), _locked(root, f"{name}.fetching", fcntl.LOCK_NB):
            shutil.rmtree(left, ignore_errors=True)
    for left in root.glob(".doomed.*"):
        shutil.rmtree(left, ignore_errors=True)


def _size(copy: Path) -> int:
    return sum(file.stat().st_size for file in copy.rglob("*") if file.is_file())


def _remove(copy: Path) -> None:
    """Rename away, then delete: no half-deleted copy is ever found."""
    with contextlib.suppress(FileNotFoundError):
        doomed = Path(tempfile.mkdtemp(dir=copy.parent.parent, prefix=".doomed."))
        os.rename(copy, doomed / copy.name)
        shutil.rmtree(doomed, ignore_errors=True)


@contextlib.contextmanager
def _locked(root: Path, name: str, how: int = 0) -> Iterator[None]:
    held = _lock(root, name, fcntl.LOCK_EX | how)
    try:
        yield
    finally:
        os.close(held)


def _lock(root: Path, name: str, how: int) -> int:
    opened = os.open(root / "locks" / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(opened, how)
    except BlockingIOError:
        os.close(opened)
        raise
    except OSError as error:
        os.close(opened)
        raise MachineError(
            f"locking failed: {error.strerror or type(error).__name__}",
            where=str(root),
            rule="the file system of the local copies supports file locks",
            remedy=f"set {ARRAYS_COPIES} to a folder on a disk of this machine",
            code="no-locks",
        ) from error
    return opened
