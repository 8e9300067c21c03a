"""Decoded chunks of stored arrays, kept in memory up to a limit and beyond it in a scratch file."""

from __future__ import annotations

import math
import mmap
import os
import shutil
import tempfile
import threading
from collections import OrderedDict
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

FREE_DISK_SHARE = 0.1
"""Fraction of the disk that is left free."""

_FLAGS = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_POPULATE", 0)

Key = tuple[str, tuple[int, ...]]


def anonymous_memory(shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Zeros in pages of their own, which return to the system when they are freed.

    In the heap, freed chunks left gaps between those still in use: the process grew to one and a
    half times the limit of the cache.
    """
    count = math.prod(shape)
    pages = mmap.mmap(-1, max(1, count * dtype.itemsize), flags=_FLAGS)
    return np.frombuffer(pages, dtype, count).reshape(shape)


class Spill:
    """Decoded chunks in a scratch file: reading them is ten times as fast as decompression.

    The file is unlinked, so it is deleted with the process even if that is killed. When the disk
    is nearly full the file stops growing; chunks that are not in it are decoded again.

    Parameters
    ----------
    folder
        Folder of the file.
    max_bytes
        Largest size of the file; 0 for no file.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self.bytes = 0
        self._folder, self._max_bytes = folder, max_bytes
        self._places: dict[Key, tuple[int, np.dtype[Any], tuple[int, ...]]] = {}
        self._lock = threading.Lock()
        # Open as long as this object lives, so no `with`.
        self._file = tempfile.TemporaryFile(dir=folder, buffering=0) if max_bytes else None  # noqa: SIM115

    def put(self, key: Key, chunk: NDArray[Any]) -> None:
        """Store a chunk if there is room and it is not stored yet."""
        with self._lock:
            if self._file is None or key in self._places or not self._room_for(chunk.nbytes):
                return
            try:
                written = os.pwrite(
                    self._file.fileno(), np.ascontiguousarray(chunk).data, self.bytes
                )
            except OSError:
                written = 0
            if written < chunk.nbytes:  # a full disk: no more chunks are stored
                self._max_bytes = self.bytes
                return
            self._places[key] = (self.bytes, chunk.dtype, chunk.shape)
            self.bytes += chunk.nbytes

    def get(self, key: Key) -> NDArray[Any] | None:
        """The stored chunk, or None."""
        with self._lock:
            place = self._places.get(key)
        if place is None or self._file is None:
            return None
        start, dtype, shape = place
        chunk = anonymous_memory(shape, dtype)
        read = os.preadv(self._file.fileno(), [chunk.data], start)
        return chunk if read == chunk.nbytes else None

    def _room_for(self, size: int) -> bool:
        if self.bytes + size > self._max_bytes:
            return False
        disk = shutil.disk_usage(self._folder)
        return disk.free - size > FREE_DISK_SHARE * disk.total


class ChunkCache:
    """Least-recently-used cache of decoded chunks, from which boxes of arrays are read.

    A chunk that is larger than the limit is not cached. Thread-safe.

    Parameters
    ----------
    max_bytes
        Largest size of the decoded chunks in memory.
    spill
        Scratch file for chunks that are evicted; None: they are decoded again.
    """

    def __init__(self, max_bytes: int, spill: Spill | None = None) -> None:
        self.max_bytes, self.bytes = max_bytes, 0
        self._spill = spill
        self._chunks: OrderedDict[Key, NDArray[Any]] = OrderedDict()
        self._lock = threading.Lock()

    def read(
        self,
        name: str,
        array: zarr.Array[Any],
        start: tuple[int, int, int],
        stop: tuple[int, int, int],
    ) -> NDArray[Any]:
        """``array[start:stop]`` (z, y, x), inside the array; ``name`` identifies the array."""
        size = array.chunks
        box = np.empty([b - a for a, b in zip(start, stop, strict=True)], array.dtype)
        ranges = [
            range(a // chunk, -(-b // chunk)) for a, b, chunk in zip(start, stop, size, strict=True)
        ]
        for index in product(*ranges):
            origin = [number * chunk for number, chunk in zip(index, size, strict=True)]
            low = [max(a, o) for a, o in zip(start, origin, strict=True)]
            high = [min(b, o + c) for b, o, c in zip(stop, origin, size, strict=True)]
            to = tuple(slice(a - s, b - s) for a, b, s in zip(low, high, start, strict=True))
            take = tuple(slice(a - o, b - o) for a, b, o in zip(low, high, origin, strict=True))
            box[to] = self._chunk(name, array, index)[take]
        return box

    def _chunk(self, name: str, array: zarr.Array[Any], index: tuple[int, ...]) -> NDArray[Any]:
        key = (name, index)
        with self._lock:
            if key in self._chunks:
                self._chunks.move_to_end(key)
                return self._chunks[key]
        spilt = self._spill.get(key) if self._spill else None
        chunk = _decoded(array, index) if spilt is None else spilt
        gone = {} if chunk.nbytes <= self.max_bytes or spilt is not None else {key: chunk}
        with self._lock:
            if key not in self._chunks and chunk.nbytes <= self.max_bytes:
                self._chunks[key] = chunk
                self.bytes += chunk.nbytes
            while self.bytes > self.max_bytes:
                old, dropped = self._chunks.popitem(last=False)
                self.bytes -= dropped.nbytes
                gone[old] = dropped
        if self._spill:
            for old, dropped in gone.items():
                self._spill.put(old, dropped)
        return chunk


def _decoded(array: zarr.Array[Any], index: tuple[int, ...]) -> NDArray[Any]:
    where = tuple(slice(i * c, (i + 1) * c) for i, c in zip(index, array.chunks, strict=True))
    decoded = np.asarray(array[where])
    chunk = anonymous_memory(decoded.shape, decoded.dtype)
    chunk[...] = decoded
    return chunk
