"""Stored pixels of DICOM slices: native ones straight from the file, compressed ones decoded.

Decoders: pydicom with GDCM (JPEG lossless and lossy, JPEG-LS, JPEG 2000) and pydicom (RLE).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.utils import iter_pixels
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from synthct.data.errors import DataError
from synthct.data.readers.pixel_element import native_start, require_whole_fragments
from synthct.data.readers.slice import Slice, broken_dicom, value


def stored_pixels(one: Slice) -> NDArray[Any]:
    """The decoded pixels (Y, X) of one slice, before the rescale."""
    return next(frame_pixels([one]))


def frame_pixels(slices: Sequence[Slice]) -> Iterator[NDArray[Any]]:
    """The stored pixels of each slice; frames of one file are read from one pass over it."""
    for _, group in groupby(slices, key=lambda one: one.entry.name):
        frames = list(group)
        one = frames[0]
        syntax = _checked_syntax(one)
        if syntax in (ImplicitVRLittleEndian, ExplicitVRLittleEndian):
            planes = _native(frames, implicit=syntax == ImplicitVRLittleEndian)
        else:
            planes = _decoded(frames)
        for plane in planes:
            yield _stored_bits(plane, one)


def _checked_syntax(one: Slice) -> str:
    header = one.header
    if int(header.get("SamplesPerPixel") or 1) != 1:
        raise broken_dicom(one.entry, "colour", "not-grey")
    if header.get("PhotometricInterpretation") != "MONOCHROME2":
        got = f"PhotometricInterpretation {header.get('PhotometricInterpretation')}"
        raise broken_dicom(one.entry, got, "not-grey")
    meta = getattr(header, "file_meta", None) or {}
    syntax = meta.get("TransferSyntaxUID")
    if syntax is None:
        raise broken_dicom(one.entry, "no transfer syntax", "missing-tag")
    return str(syntax)


def _native(frames: Sequence[Slice], *, implicit: bool) -> Iterator[NDArray[Any]]:
    """Uncompressed pixels; as many bytes as rows, columns and frames declare."""
    header, entry = frames[0].header, frames[0].entry
    rows, columns, bits = (
        int(value(header, name, entry)) for name in ("Rows", "Columns", "BitsAllocated")
    )
    if bits not in (8, 16, 32):
        raise broken_dicom(entry, f"{bits} bits a pixel", "not-grey")
    each = rows * columns * bits // 8
    expected = each * int(header.get("NumberOfFrames") or 1)
    kind = "i" if int(header.get("PixelRepresentation") or 0) else "u"
    with entry.open() as file:
        start = native_start(file, frames[0], expected, implicit=implicit)
        for one in frames:
            file.seek(start + one.frame * each)
            data = file.read(each)
            if len(data) != each:
                got = f"{len(data)} bytes of pixels where {each} are declared"
                raise broken_dicom(entry, got)
            yield np.frombuffer(data, f"<{kind}{bits // 8}").reshape(rows, columns)


def _decoded(frames: Sequence[Slice]) -> Iterator[NDArray[Any]]:
    """Compressed, deflated or big-endian pixels."""
    one = frames[0]
    dataset = whole_dataset(one)
    if "PixelData" not in dataset:
        raise broken_dicom(one.entry, "no pixels")
    if dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        with one.entry.open() as file:
            require_whole_fragments(file, one, int(dataset.get("NumberOfFrames") or 1))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            planes = iter_pixels(dataset, raw=True, indices=[frame.frame for frame in frames])
            for _ in frames:
                pixels = np.asarray(next(planes))
                if pixels.shape != (dataset.Rows, dataset.Columns):
                    raise ValueError(f"{pixels.shape} pixels")
                yield pixels
    except DataError:
        raise
    except Exception as error:
        raise broken_dicom(one.entry, f"pixels that do not decode ({error})") from error


def whole_dataset(one: Slice) -> Dataset:
    """Every element of one file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with one.entry.open() as file:
                return pydicom.dcmread(file, force=True)
        except DataError:
            raise
        except Exception as error:
            raise broken_dicom(one.entry, f"{type(error).__name__}: {error}") from error


def _stored_bits(pixels: NDArray[Any], one: Slice) -> NDArray[Any]:
    """Pixels without the bits above BitsStored, where old files kept overlays."""
    stored = int(value(one.header, "BitsStored", one.entry))
    high = int(one.header.get("HighBit", stored - 1))
    if not 1 <= stored <= pixels.dtype.itemsize * 8 or high != stored - 1:
        raise broken_dicom(one.entry, f"{stored} bits stored, high bit {high}", "bad-tag")
    unused = pixels.dtype.itemsize * 8 - stored
    if unused == 0:
        return pixels
    # Shifting up and back drops the unused bits and, for signed pixels, spreads the sign.
    return np.asarray((pixels << unused) >> unused)
