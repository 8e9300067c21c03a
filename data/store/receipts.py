"""Receipts, which replace the voxels in the folder of an array stored on an object store.

With ``SYNTHCT_ARRAYS`` (an ``s3://`` prefix or a folder) the shards of a ``NAME.zarr`` are objects
named by their SHA-256, and the folder keeps ``zarr.json``, ``manifest.json`` and ``receipt.json``.
The manifest names the content (:func:`synthct.data.files.content_hash`), so no hash or key
changes. A receipt holds no address: it is valid for every bucket that holds the objects.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synthct.data.environment import ARRAYS
from synthct.data.errors import MachineError, UsageError
from synthct.data.files import RECEIPT, canonical_json

_METADATA = "zarr.json"


@dataclass(frozen=True)
class Shard:
    """A file of a stored array on the object store.

    Parameters
    ----------
    name
        Path inside the array's folder, e.g. ``0/c/0/0/0``.
    sha256
        Of its bytes; it names the object.
    size
        In bytes.
    """

    name: str
    sha256: str
    size: int

    @property
    def object(self) -> str:
        """Name below the prefix: ``ab/abcd...``."""
        return f"{self.sha256[:2]}/{self.sha256}"


def arrays_url(url: str | None = None) -> str:
    """The prefix that ``$SYNTHCT_ARRAYS`` (or ``url``) names, folders absolute; "" for none."""
    url = os.environ.get(ARRAYS, "") if url is None else url
    if not url or url.startswith("s3://"):
        return url.rstrip("/")
    if "://" in url and not url.startswith("file://"):
        raise UsageError(
            f"the URL {url} is not supported",
            rule="arrays are stored in a folder, or at a file:// or s3:// URL",
            where=ARRAYS,
            code="bad-url",
        )
    return str(Path(url.removeprefix("file://")).absolute())


def shards_of(manifest: Mapping[str, Any]) -> list[Shard]:
    """The files of a manifest that hold voxels: all but the small descriptions."""
    return [
        Shard(name, str(entry["sha256"]), int(entry["bytes"]))
        for name, entry in sorted(manifest["files"].items())
        if name.rsplit("/", 1)[-1] != _METADATA
    ]


def receipt_text(manifest: Mapping[str, Any]) -> str:
    """``receipt.json`` of an array with this manifest."""
    objects = {
        shard.name: {"object": shard.object, "sha256": shard.sha256, "bytes": shard.size}
        for shard in shards_of(manifest)
    }
    return canonical_json({"format": 1, "objects": objects})


def require_receipt(folder: Path, manifest: Mapping[str, Any]) -> list[Shard]:
    """The shards of an array; its receipt must be the one that belongs to its manifest."""
    if (folder / RECEIPT).read_text(errors="replace") == receipt_text(manifest):
        return shards_of(manifest)
    raise MachineError(
        "the receipt lists other names, hashes or sizes",
        where=str(folder / RECEIPT),
        rule="a receipt lists the same shards as the manifest in its folder",
        remedy="delete the volume and run the stage that writes it again",
        code="store-damaged",
    )


def objects_named(receipt: str) -> set[str]:
    """Names of the objects in a receipt's text."""
    return {str(entry["object"]) for entry in json.loads(receipt)["objects"].values()}
