"""Atomic writes of files and folders, canonical JSON, and content hashes."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MANIFEST = "manifest.json"
"""Written last into a stored array; its hash names the whole folder (data/store/volumes.py)."""


RECEIPT = "receipt.json"
"""In a stored array whose voxels lie on an object store (see data/store/receipts.py)."""


def canonical_json(value: Any) -> str:
    """Canonical text of a JSON value: sorted keys, two-space indent, a newline at the end."""
    text = json.dumps(value, sort_keys=True, indent=2, allow_nan=False, ensure_ascii=False) + "\n"
    # A file name that is not UTF-8 holds lone surrogates: JSON writes them \udcXX.
    return text.encode(errors="backslashreplace").decode()


def write_whole(path: Path, content: str | bytes) -> None:
    """Replace a file atomically: a reader, or a kill, leaves the old content or the new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode() if isinstance(content, str) else content
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def create_private(path: Path, content: str | bytes) -> None:
    """Create a file with mode 0600, so that it is never readable by others.

    Raises
    ------
    FileExistsError
        If it exists; it is not changed.
    """
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextlib.contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """Build a folder next to ``target`` and rename it to ``target`` when the block succeeds.

    A folder that was there before is replaced only then, never updated in place: an in-place
    write through a linked output would corrupt the DVC cache.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    for stale in target.parent.glob(f".{target.name}.*.building"):
        if not _alive(stale):
            shutil.rmtree(stale, ignore_errors=True)
    prefix = f".{target.name}.{os.getpid()}."
    building = Path(tempfile.mkdtemp(dir=target.parent, prefix=prefix, suffix=".building"))
    try:
        os.chmod(building, 0o755)
        yield building
        sync_tree(building)
        put_in_place(building, target)
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise


def _alive(building: Path) -> bool:
    pid = building.name.rsplit(".", 3)[-3]
    return pid.isdigit() and Path(f"/proc/{pid}").exists()


def put_in_place(built: Path, target: Path) -> None:
    """Rename ``built`` to ``target``; an old folder is moved away first and removed afterwards."""
    aside = target.with_name(f".{target.name}.{os.getpid()}.0.building")
    if target.exists() or target.is_symlink():
        os.rename(target, aside)
    os.rename(built, target)
    if aside.is_symlink() or aside.is_file():
        aside.unlink()
    else:
        shutil.rmtree(aside, ignore_errors=True)


def sync_tree(folder: Path) -> None:
    """Flush every file of the folder to disk (fsync)."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())


def copy_tree(source: Path, target: Path) -> None:
    """Copy a folder; blocks are shared where the file system can (copy-on-write), never linked."""
    shutil.copytree(source, target, copy_function=_copy_file, dirs_exist_ok=True)


def _copy_file(source: str, target: str) -> str:
    size = os.stat(source).st_size
    try:
        with open(source, "rb") as reader, open(target, "wb") as writer:
            left = size
            while left > 0:
                copied = os.copy_file_range(reader.fileno(), writer.fileno(), left)
                if copied == 0:
                    break
                left -= copied
        if left == 0:
            return target
    except OSError as error:
        if error.errno not in _NO_RANGE_COPY:
            raise
    return shutil.copyfile(source, target)


_NO_RANGE_COPY = {18, 22, 38, 95}  # EXDEV, EINVAL, ENOSYS, EOPNOTSUPP: fall back to plain bytes


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_listing(folder: Path) -> dict[str, dict[str, Any]]:
    """``{relative path: {"sha256": ..., "bytes": ...}}`` of every file of a folder."""
    return {
        path.relative_to(folder).as_posix(): {
            "sha256": file_sha256(path),
            "bytes": path.stat().st_size,
        }
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def content_hash(path: Path) -> str:
    """SHA-256 of a file's or a folder's content, independent of its path.

    A stored array (a ``*.zarr`` folder) is represented by its manifest, which holds a hash of each
    of its files and is verified at every read, so hashing a cohort does not read every voxel.
    """
    if path.is_file():
        return file_sha256(path)
    if not path.is_dir():
        raise FileNotFoundError(path)
    digest = hashlib.sha256()
    for relative, value in tree_hashes(path):
        digest.update(os.fsencode(relative) + f"\0{value}\n".encode())
    return digest.hexdigest()


def tree_hashes(folder: Path) -> Iterator[tuple[str, str]]:
    """(relative path, sha256) of every file, sorted; a stored array counts as its manifest.

    Of an array with a receipt the files are those of its manifest, as if the voxels were local.
    """
    if (folder / RECEIPT).is_file() and (folder / MANIFEST).is_file():
        yield from _listed(folder)
        return
    for entry in sorted(folder.iterdir(), key=lambda path: path.name):
        if entry.is_dir():
            manifest = entry / MANIFEST
            if entry.suffix == ".zarr" and manifest.is_file():
                yield entry.name, file_sha256(manifest)
            else:
                for relative, value in tree_hashes(entry):
                    yield f"{entry.name}/{relative}", value
        else:
            yield entry.name, file_sha256(entry)


def _listed(folder: Path) -> Iterator[tuple[str, str]]:
    listed = json.loads((folder / MANIFEST).read_text())["files"]
    hashes = {name: str(entry["sha256"]) for name, entry in listed.items()}
    hashes[MANIFEST] = file_sha256(folder / MANIFEST)
    yield from sorted(hashes.items(), key=lambda item: item[0].split("/"))
