"""Voxel bytes of NIfTI, MetaImage and NRRD: exactly the declared size, checksums verified."""

from __future__ import annotations

import math
import os
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from synthct.data.errors import DataError
from synthct.data.readers.process.memory import empty

_STEP = 1 << 18
_GZIP, _ZLIB = 16 + zlib.MAX_WBITS, zlib.MAX_WBITS


def raw_voxels(path: Path, offset: int, shape: Sequence[int], dtype: np.dtype[Any]) -> NDArray[Any]:
    """The bytes from ``offset`` to the end of the file; exactly as many as declared."""
    expected = math.prod(shape) * dtype.itemsize
    with path.open("rb") as file:
        found = os.fstat(file.fileno()).st_size - offset
        if found != expected:
            raise _wrong_size(str(path), found, expected)
        array = empty(shape, dtype)
        file.seek(offset)
        if file.readinto(array.reshape(-1).view(np.uint8).data) != expected:
            raise _wrong_size(str(path), found, expected)
    return native(array)


def inflated_voxels(
    path: Path,
    offset: int,
    shape: Sequence[int],
    dtype: np.dtype[Any],
    *,
    gzip: bool,
    skip: int = 0,
) -> NDArray[Any]:
    """The voxels of a compressed stream that starts at ``offset`` and ends with the file.

    The first ``skip`` decompressed bytes (a header inside the stream) are left out. The stream
    must give exactly the declared bytes and end, with the right checksum, where the file ends: a
    cut, a flipped bit and a bomb each raise instead of giving wrong voxels.
    """
    expected = math.prod(shape) * dtype.itemsize
    array = empty(shape, dtype)
    target = array.reshape(-1).view(np.uint8).data
    done = -skip
    with path.open("rb") as file:
        file.seek(offset)
        for piece in inflate(file, str(path), most=skip + expected, gzip=gzip):
            start = max(0, -done)
            part = piece[start:]
            target[max(done, 0) : max(done, 0) + len(part)] = part
            done += len(piece)
    if done != expected:
        raise _wrong_size(str(path), done, expected)
    return native(array)


def inflate(file: BinaryIO, where: str, *, most: int, gzip: bool = True) -> Iterator[bytes]:
    """Pieces of a whole gzip (CRC-32, members in a row) or zlib (Adler-32) stream."""
    stream, given, left = zlib.decompressobj(_GZIP if gzip else _ZLIB), 0, b""
    try:
        while True:
            piece = left or file.read(_STEP)
            if stream.eof:
                if not piece:
                    return
                if not gzip:
                    raise damaged(where, "bytes follow the end of the compressed stream")
                stream = zlib.decompressobj(_GZIP)
            elif not piece:
                raise damaged(where, "the compressed stream ends early")
            out = stream.decompress(piece, min(_STEP * 4, max(1, most + 1 - given)))
            left = stream.unused_data if stream.eof else stream.unconsumed_tail
            given += len(out)
            if given > most:
                raise damaged(
                    where,
                    f"the stream holds more than the declared {most} bytes",
                    code="too-much-data",
                )
            yield out
    except zlib.error as error:
        raise damaged(where, f"the compressed stream is damaged ({error})") from error


def native(array: NDArray[Any]) -> NDArray[Any]:
    """The array in this machine's byte order, swapped in place."""
    if array.dtype.isnative:
        return array
    array.byteswap(inplace=True)
    return array.view(array.dtype.newbyteorder("="))


def damaged(where: str, problem: str, *, code: str = "damaged") -> DataError:
    """The error of a file whose bytes are not those that its header declares."""
    return DataError(
        problem,
        where=where,
        rule="a file holds as many voxel bytes as its header declares",
        remedy="copy the file again from its source",
        code=code,
    )


def _wrong_size(where: str, found: int, expected: int) -> DataError:
    return damaged(where, f"the file has {found} bytes of voxels, the header declares {expected}")


def rescaled(pixels: NDArray[Any], slope: float, intercept: float) -> NDArray[Any]:
    """``slope * pixels + intercept``; whole numbers stay whole, in the smallest type."""
    if slope == 1 and intercept == 0:
        return pixels
    exact = pixels.dtype.kind in "iu" and slope.is_integer() and intercept.is_integer()
    if not exact or abs(slope) > 1 << 15 or abs(intercept) > 1 << 30:
        values = empty(pixels.shape, np.float32)
        for plane, out in zip(pixels, values, strict=True):
            out[...] = plane.astype(np.float64) * slope + intercept
        return values
    a, b = int(slope), int(intercept)
    ends = sorted(a * int(end) + b for end in (pixels.min(), pixels.max()))
    kind = kind_for(min(*ends, a, b), max(*ends, a, b))
    # Whole-number arithmetic wraps around, so it is exact wherever the result fits the type.
    return np.asarray(pixels.astype(kind) * kind(a) + kind(b))


def kind_for(low: int, high: int) -> type[np.signedinteger[Any]]:
    """The smallest signed type that holds both, at least 16 bits."""
    for kind in (np.int16, np.int32):
        if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
            return kind
    return np.int64


def variant_not_read(where: str, problem: str, wanted: str) -> DataError:
    """The refusal of a legal file in a variant of its format that is not read."""
    return DataError(
        problem,
        where=where,
        rule="the common variants of a format are read",
        remedy=f"save it again with {wanted}, or give the DICOM series",
        code="variant-not-read",
    )
