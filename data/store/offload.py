"""Moves the voxels of stored arrays to the object store and leaves receipts in their place."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from synthct.data.errors import MachineError
from synthct.data.files import MANIFEST, RECEIPT, file_sha256, write_whole
from synthct.data.store.objects import Objects
from synthct.data.store.receipts import Shard, receipt_text, shards_of


def move_arrays(out: Path, url: str) -> int:
    """Move the shards of every array below ``out`` to the prefix ``url``; returns their number.

    An array is uploaded, and its arrival verified, before its first shard is removed here. Existing
    objects are uploaded again: the new date protects them from pruning.

    Raises
    ------
    MachineError
        ``storage-denied``, ``storage-away``, ``storage-missing``
        (:mod:`synthct.data.store.objects`), or ``store-damaged`` where a shard is not the one
        that its manifest lists.
    """
    moved = 0
    for file in sorted(out.rglob(f"*.zarr/{MANIFEST}")):
        folder = file.parent
        if not (folder / RECEIPT).exists() and (manifest := _manifest(file)):
            _move(folder, manifest, url)
            moved += 1
    return moved


def _manifest(file: Path) -> dict[str, Any] | None:
    """A manifest of a stored array; None for another file of that name."""
    try:
        found = json.loads(file.read_text())
        ours = found["format"] == 1 and all("sha256" in each for each in found["files"].values())
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return dict(found) if ours else None


def _move(folder: Path, manifest: dict[str, Any], url: str) -> None:
    shards, objects = shards_of(manifest), Objects(url)
    for shard in shards:
        source = folder / shard.name
        if not source.is_file() or file_sha256(source) != shard.sha256:
            raise MachineError(
                "the content of the file does not match its hash"
                if source.is_file()
                else "the file is missing",
                where=str(source),
                rule="every file of a stored volume matches the hash in its manifest",
                remedy="nothing was moved; run the stage again",
                code="store-damaged",
            )
        _keep(objects, shard, source)
    write_whole(folder / RECEIPT, receipt_text(manifest))
    for shard in shards:
        (folder / shard.name).unlink()
    for branch in sorted(folder.rglob("*"), reverse=True):
        if branch.is_dir() and not any(branch.iterdir()):
            branch.rmdir()


def _keep(objects: Objects, shard: Shard, source: Path) -> None:
    if objects.remote:
        objects.store(shard.object, source)
        return
    target = Path(objects.path) / shard.object
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, building = tempfile.mkstemp(dir=target.parent, prefix=".building.")
    try:
        with source.open("rb") as reader, os.fdopen(handle, "wb") as writer:
            shutil.copyfileobj(reader, writer, 1 << 20)
            writer.flush()
            os.fsync(writer.fileno())
        os.chmod(building, 0o644)
        os.replace(building, target)
    except BaseException:
        Path(building).unlink(missing_ok=True)
        raise
