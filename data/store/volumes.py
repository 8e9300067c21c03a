"""Arrays on disk or S3: zarr v3, sharded, checksummed, OME-Zarr 0.5; written atomically.

A stored volume is a folder ``NAME.zarr``: an OME-Zarr image group with one level ``0`` and
``manifest.json``, written last, which holds the SHA-256 and the size of every other file. No
manifest means no volume. The same code serves ``file://`` and ``s3://`` (s3fs). Where a receipt
replaces the shards (``data/store/receipts.py``), a verified local copy is read.
"""

from __future__ import annotations

import json
import os
import weakref
from pathlib import Path
from typing import Any

import numcodecs.blosc
import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import BloscCodec, Crc32cCodec

from synthct.data.errors import MachineError
from synthct.data.files import (
    MANIFEST,
    RECEIPT,
    canonical_json,
    file_listing,
    file_sha256,
    whole_folder,
    write_whole,
)
from synthct.data.store.local_copies import discard, pin, pinned
from synthct.data.store.objects import Objects
from synthct.data.store.ome_attributes import LEVEL, attributes_of, grid_of
from synthct.data.store.outage import SAME_ANSWER
from synthct.data.temporary import temporary_folder
from synthct.data.volume import Displacement, Grid, Modality, Volume

CHUNK = (16, 64, 64)
"""Voxels (Z, Y, X) decoded together: near a training patch, so that a read decodes little else."""

COMPRESSORS: tuple[Any, ...] = (
    BloscCodec(cname="zstd", clevel=1, shuffle="shuffle"),
    Crc32cCodec(),
)
"""Chosen by measurement on a CT, an MR and a displacement (docs/benchmarks/speed_store.md). The
checksum is of the compressed chunk, as before."""

numcodecs.blosc.use_threads = False  # with threads, the order of a chunk's blocks would vary

_METADATA = "zarr.json"

SHARD_VOXELS = 1 << 26
"""Largest shard [voxels]; a scan of usual size is one file."""


def write_volume(url: str | Path, volume: Volume) -> None:
    """Store a volume at ``url`` (a path or an ``s3://`` URL ending in ``.zarr``), replacing it."""
    array = volume.array.astype(np.uint8) if volume.array.dtype == np.bool_ else volume.array
    _write(url, np.asarray(array), volume.grid, {"modality": str(volume.modality)})


def read_volume(url: str | Path) -> Volume:
    """Load and verify a stored volume; damage raises :class:`MachineError` naming the file."""
    array, grid, attributes = _read(url)
    return Volume(array, grid, Modality(attributes["modality"]))


def write_displacement(url: str | Path, displacement: Displacement) -> None:
    """Store a displacement field (3, Z, Y, X) [mm]."""
    _write(url, np.asarray(displacement.vectors), displacement.grid, {"modality": "DISPLACEMENT"})


def read_displacement(url: str | Path) -> Displacement:
    """Load and verify a displacement field."""
    array, grid, _ = _read(url)
    return Displacement(array, grid)


def open_array(url: str | Path) -> zarr.Array[Any]:
    """The stored array for patch reads: every chunk read is checked by its own checksum."""
    files = Objects(str(url))
    manifest = _manifest_of(files)
    if not files.remote and (Path(files.path) / RECEIPT).is_file():
        copy, held = pin(Path(files.path), manifest)
        try:
            array = open_array(copy)
        except BaseException:
            os.close(held)
            raise
        weakref.finalize(array, os.close, held)  # pinned against eviction while patches are read
        return array
    for name, expected in manifest["files"].items():
        # A missing shard would read as zeros, a short one fails only when its chunk is asked for.
        if (found := files.size(name)) != expected["bytes"]:
            raise _damaged(
                f"{url}/{name}",
                "the file is missing" if found is None else "the file has another size",
            )
    _attributes_of(files, manifest)
    group = zarr.open_group(_zarr_store(str(url)), mode="r")
    return group[LEVEL]  # type: ignore[return-value]


def _zarr_store(url: str) -> Any:
    if not url.startswith("s3://"):
        return url
    from synthct.data.store.remote_zarr import RemoteZarr

    return RemoteZarr.at(url)


def read_grid(url: str | Path) -> Grid:
    """The grid of a stored volume, without reading voxels."""
    files = Objects(str(url))
    return grid_of(_attributes_of(files, _manifest_of(files)))


def require_whole(url: str | Path) -> dict[str, Any]:
    """The manifest of the volume at ``url``; a folder without one is not a stored volume."""
    return _manifest_of(Objects(str(url)))


def _manifest_of(files: Objects) -> dict[str, Any]:
    asked = 1
    while True:
        try:
            return _parsed_manifest(files.read(MANIFEST))
        except (FileNotFoundError, NotADirectoryError) as error:
            raise _incomplete(files, "the manifest is missing (404)") from error
        except ValueError as error:
            if not files.remote or asked >= SAME_ANSWER:
                raise _incomplete(
                    files, f"the manifest cannot be read ({type(error).__name__}: {error})"
                ) from error
            asked += 1  # a truncated answer is requested again


def _parsed_manifest(data: bytes) -> dict[str, Any]:
    text = data.decode()
    manifest = json.loads(text)
    _require_manifest(manifest)
    if text != canonical_json(manifest):
        raise ValueError("it is not in canonical form")
    return dict(manifest)


def _incomplete(files: Objects, problem: str) -> MachineError:
    return MachineError(
        problem,
        where=f"{files.url}/{MANIFEST}",
        rule="a stored volume has a manifest, written last",
        remedy="check bucket and key; else delete it and run the stage that writes it again",
        code="store-incomplete",
    )


def _require_manifest(manifest: Any) -> None:
    known = isinstance(manifest, dict) and manifest.get("format") == 1
    files = manifest.get("files") if known else None
    if not isinstance(files, dict) or not {_METADATA, f"{LEVEL}/{_METADATA}"} <= set(files):
        raise ValueError("it has no list of files")
    for name, entry in files.items():
        if ".." in name.split("/") or name.startswith("/"):
            raise ValueError(f"the path {name!r} leads outside")
        if not isinstance(entry, dict) or set(entry) != {"sha256", "bytes"}:
            raise ValueError(f"{name!r} has no hash and size")


def _attributes_of(files: Objects, manifest: dict[str, Any]) -> dict[str, Any]:
    """Our attributes of the group, after the hash of the file that holds them."""
    try:
        data = files.check(_METADATA, manifest["files"][_METADATA]["sha256"])
    except FileNotFoundError as error:
        raise _damaged(f"{files.url}/{_METADATA}", "the file is missing") from error
    if data is None:
        raise _damaged(f"{files.url}/{_METADATA}", "the file has other bytes")
    return dict(json.loads(data)["attributes"]["synthct"])


def _damaged(where: str, problem: str) -> MachineError:
    return MachineError(
        problem,
        where=where,
        rule="every file of a stored volume matches the hash in its manifest",
        remedy="delete the volume and run the stage that writes it again",
        code="store-damaged",
    )


def _write(url: str | Path, array: NDArray[Any], grid: Grid, attributes: dict[str, Any]) -> None:
    target = str(url)
    if "://" in target and not target.startswith("file://"):
        with temporary_folder("store") as temporary:
            local = temporary / "volume.zarr"
            _build(local, array, grid, attributes)
            _upload(local, target)
        return
    with whole_folder(Path(target.removeprefix("file://"))) as folder:
        _build(folder, array, grid, attributes)


def _build(folder: Path, array: NDArray[Any], grid: Grid, attributes: dict[str, Any]) -> None:
    lead = array.shape[: array.ndim - 3]
    chunks = (*(1 for _ in lead), *CHUNK)
    group = zarr.create_group(store=str(folder), zarr_format=3, overwrite=True)
    group.attrs.update(attributes_of(array, grid, attributes))
    level = group.create_array(
        name=LEVEL,
        shape=array.shape,
        dtype=array.dtype,
        chunks=chunks,
        shards=_shard_shape(array.shape, chunks),
        compressors=COMPRESSORS,
        fill_value=0,
        config={"write_empty_chunks": True},
        dimension_names=["c", "z", "y", "x"][-array.ndim :],  # OME-Zarr 0.5 asks for them
    )
    level[...] = array
    write_whole(folder / MANIFEST, canonical_json(_manifest(folder)))


def _shard_shape(shape: tuple[int, ...], chunks: tuple[int, ...]) -> tuple[int, ...]:
    """Whole volume if it fits, else cut along z: rounded up to whole chunks."""
    shard = [-(-size // chunk) * chunk for size, chunk in zip(shape, chunks, strict=True)]
    z = len(shape) - 3
    in_plane = int(np.prod(shard[z + 1 :]))
    most = max(1, SHARD_VOXELS // (in_plane * chunks[z])) * chunks[z]
    shard[z] = min(shard[z], most)
    return (*(1 for _ in shape[:z]), *shard[z:])


def _manifest(folder: Path) -> dict[str, Any]:
    return {"format": 1, "files": file_listing(folder)}


def _upload(local: Path, target: str) -> None:
    """Shards first, manifest last: at no moment are a manifest and shards of two volumes there."""
    files = Objects(target)
    files.remove(MANIFEST)
    names = [path.relative_to(local).as_posix() for path in local.rglob("*") if path.is_file()]
    for name in sorted(set(names) - {MANIFEST}):
        files.store(name, local / name)
    files.store(MANIFEST, local / MANIFEST)
    for stale in set(files.names()) - set(names):
        files.remove(stale)


def _read(url: str | Path) -> tuple[NDArray[Any], Grid, dict[str, Any]]:
    target = str(url).removeprefix("file://")
    if "://" in target:
        with temporary_folder("store") as temporary:
            local = temporary / "volume.zarr"
            _download(target, local)
            return _read_local(local, target)
    if (Path(target) / RECEIPT).is_file():
        return _read_copy(Path(target))
    return _read_local(Path(target), target)


def _read_copy(folder: Path) -> tuple[NDArray[Any], Grid, dict[str, Any]]:
    manifest = require_whole(folder)
    with pinned(folder, manifest) as copy:
        try:
            return _read_local(copy, str(copy))
        except MachineError as error:
            damaged = error
    if damaged.code != "store-damaged" or not discard(copy):
        raise damaged
    # Damaged on this disk: the download had been verified.
    with pinned(folder, manifest) as copy:
        return _read_local(copy, str(copy))


def _download(target: str, local: Path) -> None:
    files = Objects(target)
    manifest = _manifest_of(files)
    for name, expected in manifest["files"].items():
        try:
            whole = files.fetch(name, local / name, expected["sha256"])
        except FileNotFoundError as error:
            raise _damaged(f"{target}/{name}", "the file is missing") from error
        if not whole:
            raise _damaged(f"{target}/{name}", "the file has other bytes")
    write_whole(local / MANIFEST, canonical_json(manifest))


def _read_local(folder: Path, where: str) -> tuple[NDArray[Any], Grid, dict[str, Any]]:
    manifest = require_whole(folder)
    for name, expected in manifest["files"].items():
        file = folder / name
        same = file.is_file() and file.stat().st_size == expected["bytes"]
        if not same or file_sha256(file) != expected["sha256"]:
            wrong = "has other bytes" if file.is_file() else "is missing"
            raise _damaged(f"{where}/{name}", f"the file {wrong}")
    found = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    if extra := sorted(found - set(manifest["files"]) - {MANIFEST}):
        raise _damaged(f"{where}/{extra[0]}", "the manifest does not list the file")
    group = zarr.open_group(str(folder), mode="r")
    attributes = dict(dict(group.attrs)["synthct"])  # type: ignore[arg-type]
    array = np.asarray(group[LEVEL][...])  # type: ignore[index]
    return array, grid_of(attributes), attributes
