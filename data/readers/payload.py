"""Voxel bytes of the raw formats: as many as the header declares, checksums read to the end."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.faults import DataFault
from data.readers.limits import MAX_BYTES

_STEP = 1 << 20
_GZIP, _ZLIB = 16 + zlib.MAX_WBITS, zlib.MAX_WBITS


def inflate(data: bytes, where: str, *, most: int = MAX_BYTES, gzip: bool = True) -> bytes:
    """Decompress one whole gzip (CRC-32) or zlib (Adler-32) stream of up to ``most`` bytes.

    The stream must end, with the right checksum, where the data end: a truncated file, a flipped
    bit and a bomb each raise instead of giving wrong voxels.
    """
    out = bytearray()
    view = memoryview(data)
    try:
        while True:
            stream = zlib.decompressobj(_GZIP if gzip else _ZLIB)
            view = _one_stream(stream, view, out, most, where)
            if not gzip or not len(view):
                break
    except zlib.error as error:
        raise damaged(where, f"a broken compressed stream ({error})") from error
    if len(view):
        raise damaged(where, f"{len(view)} bytes after the end of the compressed stream")
    return bytes(out)


def _one_stream(stream: Any, view: memoryview, out: bytearray, most: int, where: str) -> memoryview:
    while not stream.eof:
        if not len(view):
            raise damaged(where, "a compressed stream that ends early")
        piece, view = view[:_STEP], view[_STEP:]
        while len(piece) and not stream.eof:
            out += stream.decompress(piece, max(1, most + 1 - len(out)))
            if len(out) > most:
                raise damaged(where, f"more than {most} bytes", code="too-much-data")
            piece = memoryview(stream.unconsumed_tail)
    left = len(stream.unused_data)
    return memoryview(bytes(stream.unused_data) + bytes(view)) if left else view


def voxels(
    data: bytes | memoryview, shape: Sequence[int], dtype: np.dtype[Any], where: str
) -> NDArray[Any]:
    """The bytes as an array of native byte order; they must be exactly as many as declared."""
    expected = math.prod(shape) * dtype.itemsize
    if len(data) != expected:
        raise damaged(where, f"{len(data)} bytes of voxels where the header declares {expected}")
    array = np.frombuffer(data, dtype=dtype).reshape(tuple(shape))
    return np.asarray(array, dtype=dtype.newbyteorder("="))


def read_bytes(path: Path) -> bytes:
    """The file's bytes; a missing or endless file raises."""
    try:
        size = path.stat().st_size
        if size > 2 * MAX_BYTES:
            raise damaged(str(path), f"{size} bytes on disk", code="too-large")
        return path.read_bytes()
    except FileNotFoundError as error:
        raise DataFault("the file exists", where=str(path), code="no-file") from error


def damaged(where: str, got: str, *, code: str = "damaged") -> DataFault:
    """The fault of a file whose bytes are not what its header declares."""
    return DataFault(
        "a file holds as many voxel bytes as its header declares",
        where=where,
        got=got,
        remedy="copy the file again from its source",
        code=code,
    )


def rescaled(pixels: NDArray[Any], slope: float, intercept: float) -> NDArray[Any]:
    """``slope * pixels + intercept``; whole numbers stay whole, in the smallest type."""
    if slope == 1 and intercept == 0:
        return pixels
    exact = pixels.dtype.kind in "iu" and slope.is_integer() and intercept.is_integer()
    if not exact or abs(slope) > 1 << 15 or abs(intercept) > 1 << 30:
        return (pixels.astype(np.float64) * slope + intercept).astype(np.float32)
    a, b = int(slope), int(intercept)
    ends = sorted(a * int(end) + b for end in (pixels.min(), pixels.max()))
    kind = _kind_for(min(*ends, a, b), max(*ends, a, b))
    # Whole-number arithmetic wraps around, so it is exact wherever the result fits the type.
    return np.asarray(pixels.astype(kind) * kind(a) + kind(b))


def _kind_for(low: int, high: int) -> type[np.signedinteger[Any]]:
    for kind in (np.int16, np.int32):
        if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
            return kind
    return np.int64


def smallest(values: NDArray[Any]) -> NDArray[Any]:
    """Whole numbers as int16 where they fit, else int32, else int64."""
    return values.astype(_kind_for(int(values.min()), int(values.max())), copy=False)
