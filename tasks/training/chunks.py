"""Decoded chunks of stored arrays, kept in memory up to a bound."""

from __future__ import annotations

import threading
from collections import OrderedDict
from itertools import product
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from synthct.tasks.training.spill import Key, Spill, own_pages


class ChunkCache:
    """Boxes of stored arrays, read chunk by chunk; the least recently used chunks go first.

    A chunk that is larger than the whole bound is read and not kept. Safe to share by threads.

    Parameters
    ----------
    max_bytes
        Most bytes of decoded chunks that are held.
    spill
        Where chunks go that memory has no room for; None: they are decoded again.
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
        """``array[start:stop]`` (z, y, x), inside the array; ``name`` tells arrays apart."""
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
    chunk = own_pages(decoded.shape, decoded.dtype)
    chunk[...] = decoded
    return chunk
