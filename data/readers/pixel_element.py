"""The pixel element of a DICOM file as bytes, and what may follow it (PS3.5 A.4, 7.1, 8.1.1).

The element must be complete. Padding, private groups, digital signatures and zeros may follow the
pixels; anything else means that bytes were lost or added.
"""

from __future__ import annotations

import os
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from synthct.data.readers.slice import Slice, broken_dicom, image_bytes

PIXEL_DATA = b"\xe0\x7f\x10\x00"
_ITEM_BYTES, _END_BYTES = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"


def native_start(file: BinaryIO, one: Slice, frames: int, *, implicit: bool) -> int:
    """Position of the first pixel; at least as many bytes as the image has, whole elements after.

    Bytes lost or added before them shift the pixels or leave a rest: both raise. An excess that
    the element's length declares is padding (PS3.5 8.1.1) where it cannot be pixels.
    """
    expected = frames * image_bytes(one)
    file.seek(one.offset)
    element = file.read(8 if implicit else 12)
    if element[:4] != PIXEL_DATA:
        raise broken_dicom(one.entry, "the file has no pixels")
    declared, start = int.from_bytes(element[-4:], "little"), file.tell()
    if declared < expected:
        raise broken_dicom(
            one.entry, f"the file has {declared} bytes of pixels, the header declares {expected}"
        )
    padded = declared > expected + expected % 2
    needed = declared if padded else expected  # some writers leave out the last byte of padding
    if (size := _size(file)) < start + needed:
        problem = f"the file has {size - start} bytes of pixels, the header declares {needed}"
        raise broken_dicom(one.entry, problem)
    if padded:
        require_padding(file, one, start, expected, declared)
    require_end(file, start + declared, one, implicit=implicit)
    return start


def require_whole_fragments(file: BinaryIO, one: Slice, frames: int) -> None:
    """Items of encapsulated pixels follow each other up to their delimiter, then the file ends."""
    file.seek(one.offset)
    element = file.read(12)
    if element[:4] != PIXEL_DATA or int.from_bytes(element[-4:], "little") != _UNDEFINED:
        raise broken_dicom(one.entry, "the file has no encapsulated pixels")
    size, fragments = _size(file), -1  # the first item is the offset table
    while True:
        head = file.read(8)
        length = int.from_bytes(head[4:], "little")
        if head[:4] == _END_BYTES and len(head) == 8 and length == 0:
            break
        if head[:4] != _ITEM_BYTES or file.tell() + length > size:
            problem = f"a fragment of {length} bytes at byte {file.tell() - 8} of {size} is damaged"
            raise broken_dicom(one.entry, problem)
        file.seek(length, os.SEEK_CUR)
        fragments += 1
    if fragments < frames:
        raise broken_dicom(one.entry, f"the file has {fragments} fragments for {frames} frames")
    require_end(file, file.tell(), one, implicit=False)


def _size(file: BinaryIO) -> int:
    here = file.tell()
    size = file.seek(0, os.SEEK_END)
    file.seek(here)
    return size


_PIXEL_GROUP = 0x7FE0
_SIGNATURES, _TRAILING_PADDING = 0xFFFA, 0xFFFC
_LONG = (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
_SHORT = (
    b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO", b"LT", b"PN",
    b"SH", b"SL", b"SS", b"ST", b"TM", b"UI", b"UL", b"US",
)  # fmt: skip
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_UNDEFINED = 0xFFFFFFFF
_DEEPEST = 16
_COMPARED, _MIN_COLUMNS = 1 << 16, 8

MIN_ZEROS = 128
"""Minimum length of padding with zeros [bytes]: a shorter tail may be the dark end of a shifted
image."""


def require_padding(file: BinaryIO, one: Slice, start: int, expected: int, declared: int) -> None:
    """Require that excess bytes are padding, not pixels beyond wrong Rows or Columns."""
    header = one.header
    rows, columns = int(header.Rows), int(header.Columns)
    pixel = image_bytes(one) // (rows * columns)
    excess = declared - expected
    if excess < min(rows, columns) * pixel:
        return  # no row and no column fits into it
    file.seek(start + expected)
    rest = file.read(excess)
    if rest.count(rest[:1]) != len(rest):
        problem = (
            f"the pixel element has {declared} bytes, the image {expected}, "
            "and the rest is not padding"
        )
        raise broken_dicom(one.entry, problem)
    file.seek(start)
    image = np.frombuffer(file.read(image_bytes(one)), np.dtype(f"<u{pixel}"))
    middle = max(0, image.size - _COMPARED) // 2
    part = image[middle : middle + _COMPARED].astype(np.int64)
    if _sheared(part, columns, columns + excess // (rows * pixel)):
        raise broken_dicom(
            one.entry, f"the rows of the image are longer than the declared {columns} columns"
        )


def _sheared(image: NDArray[Any], columns: int, most: int) -> bool:
    """Whether rows would agree far better with each other if they were longer.

    A number of columns with one wrong bit is off by many, so small shears are not tested.
    """

    def apart(lag: int) -> float:
        return float(np.abs(image[lag:] - image[:-lag]).mean())

    lags = range(columns + _MIN_COLUMNS, min(most, image.size // 2) + 1)
    return any(apart(lag) < 0.7 * apart(columns) for lag in lags)


def require_end(file: BinaryIO, position: int, one: Slice, *, implicit: bool) -> None:
    """Only whole elements that the standard allows there, or zeros, up to the end of the file.

    Private groups above the pixels, digital signatures and padding may follow in the order of
    their tags (PS3.5 7.1); some archives fill files up with zeros.
    """
    size, last = file.seek(0, os.SEEK_END), 0
    while position < size:
        if _is_zeros(file, position, size):
            return
        tag, end = _element(file, position, size, implicit=implicit)
        group = tag >> 16
        allowed = group in (_SIGNATURES, _TRAILING_PADDING) or (
            group > _PIXEL_GROUP and group % 2 == 1 and group != 0xFFFF
        )
        if not allowed or tag <= last or end > size:
            raise broken_dicom(one.entry, f"{size - position} unexpected bytes follow the pixels")
        position, last = end, tag


def _is_zeros(file: BinaryIO, position: int, size: int) -> bool:
    """Whether the rest is zeros that are not shifted dark pixels."""
    count = size - position
    file.seek(position)
    if file.read(count).strip(b"\0"):
        return False
    file.seek(max(0, position - count))
    return count >= MIN_ZEROS or bool(file.read(min(count, position)).strip(b"\0"))


def _element(
    file: BinaryIO, position: int, size: int, *, implicit: bool, deep: int = 0
) -> tuple[int, int]:
    """Tag of the element at a position, and its end; an end beyond ``size`` means no element."""
    none = (0, size + 1)
    file.seek(position)
    head = file.read(8)
    if len(head) < 8 or deep > _DEEPEST:
        return none
    tag = int.from_bytes(head[:2], "little") << 16 | int.from_bytes(head[2:4], "little")
    delimiter = tag >> 16 == 0xFFFE
    if implicit or delimiter:
        length, kind = int.from_bytes(head[4:], "little"), b"SQ"
    elif (kind := head[4:6]) in _LONG:
        length = int.from_bytes(file.read(4), "little")
    elif kind in _SHORT:
        length = int.from_bytes(head[6:], "little")
    else:
        return none
    start = file.tell()
    if length != _UNDEFINED:
        return tag, start + length
    if kind not in (b"SQ", b"UN", b"OB", b"OW"):
        return none
    inner = implicit or kind == b"UN"
    ends = _ITEM_END if tag == _ITEM else _SEQUENCE_END
    while True:
        found, start = _element(file, start, size, implicit=inner, deep=deep + 1)
        if start > size:
            return none
        if found == ends:
            return tag, start
