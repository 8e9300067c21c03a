"""Errors of the operating system as :class:`MachineError`, for all commands."""

from __future__ import annotations

import errno
import os
import tempfile

from synthct.data.errors import MachineError

_FULL = (os.strerror(errno.ENOSPC), os.strerror(errno.EDQUOT))
_NO_TEMPORARY = "No usable temporary directory found"
"""Message of Python's FileNotFoundError if /tmp is full and its trial writes fail."""


def is_disk_full(error: BaseException) -> bool:
    """Whether an error, also one wrapped by a library, means that the disk is full."""
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return True
    text = str(error)
    return any(words in text for words in _FULL) or _NO_TEMPORARY in text


def machine_error(error: BaseException, *, where: str = "") -> MachineError:
    """The :class:`MachineError` of an ``OSError``, or of a library's error that wraps one."""
    place = str(getattr(error, "filename", None) or where)
    if is_disk_full(error):
        return MachineError(
            f"no space left on the device ({_room(place)})",
            rule="results and temporary files need free space",
            where=place,
            remedy="free space (or set TMPDIR to a larger disk) and run the same command again; "
            "finished results are kept",
            code="disk-full",
        )
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return MachineError(
        text,
        where=place,
        remedy="check the path, its permissions and the disk, and run the same command again",
        code="os-error",
    )


def _room(place: str) -> str:
    """Free space in the folder for temporary files and in the folder of the file."""
    folders = [os.environ.get("TMPDIR") or "/tmp", os.path.dirname(place) or os.getcwd()]  # noqa: PTH109, PTH120
    texts = []
    for folder in dict.fromkeys(folders):
        try:
            found = os.statvfs(folder)
        except OSError:
            continue
        texts.append(f"{folder} has {found.f_bavail * found.f_frsize / 1e6:.0f} MB")
    return ", ".join(texts) or tempfile.gettempprefix()
