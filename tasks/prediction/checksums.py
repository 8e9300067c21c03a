"""The files of a release folder: listed with their hashes, and each checked when it is read."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from synthct.data.errors import UsageError
from synthct.data.files import canonical_json, file_sha256, write_whole
from synthct.tasks.pipeline.artefacts import CHECKSUMS

SIGNATURE = "signature.json"
"""Not listed, because it signs ``checksums.json`` (see ``tasks/prediction/signing.py``)."""


def write_checksums(folder: Path) -> None:
    """Write ``checksums.json``, the last file, over every other file of the folder.

    ``{"format": 1, "files": {name: {"sha256": ..., "bytes": ...}}}``
    """
    files = {name: folder / name for name in sorted(_present(folder))}
    listed = {
        name: {"sha256": file_sha256(path), "bytes": path.stat().st_size}
        for name, path in files.items()
    }
    write_whole(folder / CHECKSUMS, canonical_json({"format": 1, "files": listed}))


def _present(folder: Path) -> set[str]:
    """Names of all files below the folder, except ``checksums.json`` and its signature."""
    found = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if not p.is_dir()}
    return found - {CHECKSUMS, SIGNATURE}


def checksums_of(folder: Path) -> Path:
    """The file ``checksums.json`` of a release.

    Raises
    ------
    UsageError
        ``release-missing``: there is no such folder; ``release-incomplete``: it has no such file.
    """
    file = folder / CHECKSUMS
    if not file.is_file():
        raise UsageError(
            f"the folder has no {CHECKSUMS}" if folder.is_dir() else "there is no such folder",
            rule=f"a release is a folder with a {CHECKSUMS}, which is written last",
            where=str(folder),
            remedy="give the whole folder that the export stage wrote (export/mr or export/cbct)",
            code="release-incomplete" if folder.is_dir() else "release-missing",
        )
    return file


def listed(folder: Path) -> dict[str, dict[str, Any]]:
    """Hash and size of each file according to ``checksums.json``."""
    file = checksums_of(folder)
    try:
        document = json.loads(file.read_text())
        return {str(name): dict(entry) for name, entry in document["files"].items()}
    except (OSError, ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise UsageError(
            f"the file cannot be read ({type(error).__name__})",
            rule=f"{CHECKSUMS} lists the files of a release with their hashes",
            where=str(file),
            remedy="copy the release again from where it was made",
            code="release-incomplete",
        ) from error


def check_listing(folder: Path, listed: dict[str, dict[str, Any]]) -> None:
    """Raise unless the folder holds exactly the listed files."""
    present = _present(folder)
    for name in sorted(present ^ set(listed)):
        raise UsageError(
            "the file is not listed in checksums.json"
            if name in present
            else "the file is missing",
            rule="a release folder holds exactly the files that checksums.json lists",
            where=f"{folder}/{name}",
            remedy="copy the release again",
            code="release-files-differ",
        )


def checked(file: Path, entry: dict[str, Any]) -> bytes:
    """The bytes of a file; raises unless they match its listed hash."""
    content = b"" if file.is_symlink() or not file.is_file() else file.read_bytes()
    if hashlib.sha256(content).hexdigest() != entry.get("sha256"):
        raise UsageError(
            f"the file is not the one that checksums.json lists ({len(content)} of "
            f"{entry.get('bytes')} bytes)",
            where=str(file),
            remedy="the release is damaged or was changed: copy it again from where it was made",
            code="release-damaged",
        )
    return content
