"""Files of a published unit, and their verification."""

from __future__ import annotations

import errno
import json
import os
import re
import stat
from pathlib import Path
from typing import Any

from synthct.data.errors import MachineError
from synthct.data.files import MANIFEST, RECEIPT, canonical_json, file_listing, file_sha256

HASH = "content.sha256"
"""Written last: a unit without it is not there."""
LISTING = "files.json"
"""Hash and size of every file, shards included."""
RECORD = "record.json"
"""File that describes the machine and versions (``tasks/pipeline/machine.py``); never part of a key
or an output."""
FILES = "files"

RUNS = ".runs"
"""Folder of a store for the tokens of runs."""

UNIT_DAMAGED = "unit-damaged"

_DAMAGED = {errno.EIO, errno.EBADMSG, errno.EUCLEAN}

_KEY = re.compile(r"[0-9a-f]{64}")


def is_key(text: object) -> bool:
    """Whether this can name a unit: a SHA-256 in hexadecimal, so no path leads out of a store."""
    return isinstance(text, str) and _KEY.fullmatch(text) is not None


def require_key(key: str) -> str:
    """The key, if it is one."""
    if is_key(key):
        return key
    raise MachineError(
        f"{key!r} is not the key of a cached result",
        rule="a cached result is named by a SHA-256",
        code="no-unit-key",
    )


def listing_of(folder: Path) -> str:
    """The text of ``files.json``."""
    return canonical_json(file_listing(folder))


def damage(folder: Path, listing: str) -> tuple[str, str] | None:
    """(file, problem) of the first file that differs from the listing; None if there is none."""
    try:
        expected: dict[str, Any] = dict(json.loads(listing))
        for name, entry in expected.items():
            if found := _wrong(folder / name, str(entry["sha256"])):
                return name, found
    except (ValueError, TypeError, KeyError, RecursionError):
        return LISTING, "is not a list of files"
    present = (path for path in sorted(folder.rglob("*")) if path.is_file())
    for path in present:
        if path.relative_to(folder).as_posix() not in expected:
            return path.relative_to(folder).as_posix(), "was not published"
    return None


def unreadable(folder: Path) -> tuple[str, str] | None:
    """(file, what is wrong with it) of the first file that the disk does not give back.

    A bad sector (``EIO``), or the checksums and structures of the file system (``EBADMSG``,
    ``EUCLEAN``). What only permissions withhold is not damaged.
    """
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink() and not path.exists():
            return name, "is a link to nothing"
        try:
            if path.is_file():
                file_sha256(path)
        except OSError as error:
            if error.errno in _DAMAGED:
                return name, f"cannot be read back ({error.strerror})"
    return None


def array_damage(folder: Path) -> str:
    """The first file below ``folder`` that the manifest of its stored array does not describe.

    Voxels that lie elsewhere (a receipt) are verified when they are read.
    """
    for manifest in sorted(folder.rglob(f"*.zarr/{MANIFEST}")):
        array = manifest.parent
        if (array / RECEIPT).is_file():
            continue
        try:
            listed = json.loads(manifest.read_text())["files"]
            for name, entry in listed.items():
                if _wrong(array / name, str(entry["sha256"])):
                    return str(array / name)
        except (ValueError, TypeError, KeyError, AttributeError):
            return str(manifest)
    return ""


def _wrong(file: Path, sha256: str) -> str:
    if not file.is_file():
        return "is missing"
    return "" if file_sha256(file) == sha256 else "has other bytes than were published"


def take_modes(folder: Path, root: Path) -> None:
    """Give a folder of a store the permissions of the store's root, whatever the umask is.

    A root that its group may write (``chmod 2770``) is a store that a group shares; a root that is
    private keeps its units private.
    """
    mode = stat.S_IMODE(root.stat().st_mode) & 0o2777
    for path in [folder, *folder.rglob("*")]:
        if not path.is_symlink():
            os.chmod(path, mode if path.is_dir() else mode & 0o666)


def damaged_unit(where: str, what: str, became: str) -> MachineError:
    """The error of a damaged unit; ``became``: how it was handled."""
    return MachineError(
        f"this file of a cached result {what}",
        rule="a cached result is unchanged since it was published",
        where=where,
        remedy=f"the result was {became} and is computed again; check the disk",
        code=UNIT_DAMAGED,
    )
