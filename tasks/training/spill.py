"""Decoded chunks that memory has no room for, in a scratch file beside the checkpoints."""

from __future__ import annotations

import math
import mmap
import os
import shutil
import tempfile
import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

KEEP_FREE = 0.1
"""Part of the disk that is left free."""

_FLAGS = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_POPULATE", 0)

Key = tuple[str, tuple[int, ...]]


def own_pages(shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Zeros whose memory goes back to the system when they are dropped.

    In the heap, chunks that came and went left holes between those that stayed: the process
    grew by half as much again as the cache's bound.
    """
    count = math.prod(shape)
    pages = mmap.mmap(-1, max(1, count * dtype.itemsize), flags=_FLAGS)
    return np.frombuffer(pages, dtype, count).reshape(shape)


class Spill:
    """Chunks decoded once and read again raw: decompression costs ten times a read of the file.

    The file has no name: it goes with the process, also when that is killed. A disk that is
    nearly full ends the growth, never the training; what is not here is decoded again.

    Parameters
    ----------
    folder
        Where the file lies.
    max_bytes
        Most bytes it grows to; 0 for none.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self.bytes = 0
        self._folder, self._max_bytes = folder, max_bytes
        self._places: dict[Key, tuple[int, np.dtype[Any], tuple[int, ...]]] = {}
        self._lock = threading.Lock()
        # Open as long as this object lives, so no `with`.
        self._file = tempfile.TemporaryFile(dir=folder, buffering=0) if max_bytes else None  # noqa: SIM115

    def put(self, key: Key, chunk: NDArray[Any]) -> None:
        """Keep a chunk if there is room and it is not there yet."""
        with self._lock:
            if self._file is None or key in self._places or not self._room_for(chunk.nbytes):
                return
            try:
                written = os.pwrite(
                    self._file.fileno(), np.ascontiguousarray(chunk).data, self.bytes
                )
            except OSError:
                written = 0
            if written < chunk.nbytes:  # a full disk: nothing more is kept
                self._max_bytes = self.bytes
                return
            self._places[key] = (self.bytes, chunk.dtype, chunk.shape)
            self.bytes += chunk.nbytes

    def get(self, key: Key) -> NDArray[Any] | None:
        """The chunk as it was put, or None."""
        with self._lock:
            place = self._places.get(key)
        if place is None or self._file is None:
            return None
        start, dtype, shape = place
        chunk = own_pages(shape, dtype)
        read = os.preadv(self._file.fileno(), [chunk.data], start)
        return chunk if read == chunk.nbytes else None

    def _room_for(self, size: int) -> bool:
        if self.bytes + size > self._max_bytes:
            return False
        disk = shutil.disk_usage(self._folder)
        return disk.free - size > KEEP_FREE * disk.total
