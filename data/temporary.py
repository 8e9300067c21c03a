"""Temporary folders; those of killed processes are removed by the next one.

They may hold scans with names of patients. A folder is locked while its process lives (the kernel
releases the lock however the process ends, also in containers that share ``/tmp``), so a folder
without a lock is left over.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

_MARK = ".synthct."


@contextlib.contextmanager
def temporary_folder(name: str, folder: Path | None = None) -> Iterator[Path]:
    """An empty folder for the block, readable by its owner alone.

    Parameters
    ----------
    name
        What it is for, e.g. ``unit``; part of the folder's name.
    folder
        Where to make it; None: the folder for temporary files (``$TMPDIR``, else ``/tmp``).
    """
    place = Path(folder or tempfile.gettempdir())
    sweep(place)
    made, lock = _locked(place, name)
    try:
        yield made
    finally:
        _remove(made)
        os.close(lock)


def _remove(folder: Path) -> None:
    """Also folders that were copied with a mode that forbids to write into them."""
    for place, names, _ in os.walk(folder):
        for each in (Path(place), *(Path(place, name) for name in names)):
            with contextlib.suppress(OSError):
                if not each.is_symlink():
                    each.chmod(0o700)
    shutil.rmtree(folder, ignore_errors=True)


def sweep(folder: Path | None = None) -> int:
    """Remove the folders of this user's dead processes; returns their number."""
    swept = 0
    for left in Path(folder or tempfile.gettempdir()).glob(f"{_MARK}*"):
        with contextlib.suppress(OSError):
            if left.is_symlink() or left.stat().st_uid != os.getuid():
                continue
            lock = _lock(left)
            if lock is None:
                continue
            try:
                _remove(left)
                swept += 1
            finally:
                os.close(lock)
    return swept


def _locked(place: Path, name: str) -> tuple[Path, int]:
    """A new folder and its lock; retried if another process removes it before it is locked."""
    while True:
        made = Path(tempfile.mkdtemp(prefix=f"{_MARK}{name}.", dir=place))
        with contextlib.suppress(FileNotFoundError):
            lock = _lock(made)
            if lock is not None and made.is_dir():
                return made, lock
            if lock is not None:
                os.close(lock)


def _lock(folder: Path) -> int | None:
    """The open, locked folder; None while another process holds it."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    except OSError:
        os.close(handle)
        raise
    return handle
