"""The exact affine beside NIfTI-1's 32-bit one, as a header extension that other programs skip.

NIfTI-1 keeps positions in float32: seven digits, so a voxel at 900 mm is off by up to 3e-5 mm.
Extensions are part of the standard (nifti1.h: ``esize``, ``ecode``, data; code 6 is plain text);
ITK, nibabel and FSL ignore what they do not know. The two must agree: a flipped bit in either is
found.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence

HEADER_BYTES = 348
ECODE_COMMENT = 6
NAME = "synthct exact affine (LPS, mm, x y z): "
MOST_BYTES = 4096


def extension(columns: Sequence[Sequence[float]], origin: Sequence[float]) -> bytes:
    """The four flag bytes after the header, and the extension."""
    rows = [[*map(float, row), float(shift)] for row, shift in zip(columns, origin, strict=True)]
    text = (NAME + json.dumps(rows)).encode()
    size = -(-(8 + len(text)) // 16) * 16
    return b"\1\0\0\0" + struct.pack("<2i", size, ECODE_COMMENT) + text.ljust(size - 8, b"\0")


def found(data: bytes, order: str) -> list[list[float]] | None:
    """Three rows of four numbers, or None where the header has no such extension.

    Raises ``ValueError`` where there is one that cannot be read.
    """
    if len(data) < HEADER_BYTES + 12 or data[HEADER_BYTES] == 0:
        return None
    size, code = struct.unpack_from(order + "2i", data, HEADER_BYTES + 4)
    body = data[HEADER_BYTES + 12 : HEADER_BYTES + 4 + size]
    if code != ECODE_COMMENT or not body.startswith(NAME.encode()):
        return None
    rows = json.loads(body[len(NAME) :].rstrip(b"\0").decode())
    if len(rows) != 3 or any(len(row) != 4 for row in rows):
        raise ValueError("an affine is three rows of four numbers")
    return [[float(number) for number in row] for row in rows]
