"""Lock of the result cache: shared by runs, exclusive for the removal of units."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from synthct.data.errors import UsageError

IN_USE = ".in-use"

_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}
"""File systems without locks: young units are still protected by their age."""


@contextlib.contextmanager
def shared_lock(folder: Path) -> Iterator[None]:
    """Shared lock of a run: the store at ``folder`` is not pruned meanwhile."""
    with _locked(folder, fcntl.LOCK_SH):
        yield


@contextlib.contextmanager
def exclusive_lock(folder: Path) -> Iterator[None]:
    """Exclusive lock: no run is active during the block; one that starts waits for its end.

    Raises
    ------
    UsageError
        ``run-is-on``.
    """
    try:
        with _locked(folder, fcntl.LOCK_EX | fcntl.LOCK_NB):
            yield
    except BlockingIOError as error:
        raise UsageError(
            "a run is using the result cache",
            rule="cached results are removed only while no run needs them",
            where=str(folder),
            remedy="prune when it has ended; nothing was removed",
            code="run-is-on",
        ) from error


@contextlib.contextmanager
def _locked(folder: Path, how: int) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / IN_USE
    try:
        handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o664)
    except PermissionError:  # created by another user: a shared lock only requires read permission
        handle = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _share(handle, folder)
        try:
            fcntl.flock(handle, how)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
        yield
    finally:
        os.close(handle)


def _share(handle: int, folder: Path) -> None:
    """Give our own file the permissions of its folder: a group's lock is open to the group."""
    if os.fstat(handle).st_uid == os.geteuid():
        os.fchmod(handle, stat.S_IMODE(folder.stat().st_mode) & 0o666)
