"""The pixel element of a DICOM file as bytes: whole, whole elements after it (PS3.5 A.4, 7.1)."""

from __future__ import annotations

import os
from typing import BinaryIO

from synthct.data.readers.after_pixels import require_end, require_padding
from synthct.data.readers.slice import Slice, broken_dicom, image_bytes

PIXEL_DATA = b"\xe0\x7f\x10\x00"
_ITEM, _END = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"
_UNDEFINED = 0xFFFFFFFF


def native_start(file: BinaryIO, one: Slice, frames: int, *, implicit: bool) -> int:
    """Position of the first pixel; at least as many bytes as the image has, whole elements after.

    Bytes that were lost or added anywhere before shift the pixels or leave a rest: both raise.
    An excess that the element's length declares is padding (PS3.5 8.1.1), where it can be no
    pixels.
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
        if head[:4] == _END and len(head) == 8 and length == 0:
            break
        if head[:4] != _ITEM or file.tell() + length > size:
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
