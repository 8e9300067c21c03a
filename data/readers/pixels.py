"""Stored pixels of DICOM slices: native ones straight from the file, compressed ones decoded.

Decoders: pydicom with GDCM (JPEG lossless and lossy, JPEG-LS, JPEG 2000) and pydicom (RLE).

Padding becomes air (PS3.3 C.7.5.1.1.2): PixelPaddingValue, up to PixelPaddingRangeLimit where there
is one, fills what the scanner did not reconstruct, such as the corners around a round field of
view. Its value is written in many ways (63536 for -2000), may need more bits than BitsStored, and
may be one that tissue has too: where it could have been measured, only pixels that are connected
to the edge of the image are padding.
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
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.utils import iter_pixels
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from synthct.data.errors import DataError
from synthct.data.readers.pixel_element import native_start, require_whole_fragments
from synthct.data.readers.slice import Slice, broken_dicom, image_bytes, value

_SIZES = ("Rows", "Columns", "BitsAllocated")


def stored_pixels(one: Slice) -> NDArray[Any]:
    """The decoded pixels (Y, X) of one slice, before the rescale."""
    return next(frame_pixels([one]))


def frame_pixels(
    slices: Sequence[Slice], padded: list[int] | None = None
) -> Iterator[NDArray[Any]]:
    """The stored pixels of each slice; frames of one file are read from one pass over it.

    Padding becomes air; the number of such pixels of each slice is appended to ``padded``. Some
    exports state its value in a part of the slices only: the one value of a series holds for all.
    """
    found = [_padding_of(one) for one in slices]
    stated = {repr(padding): padding for padding in found if padding[0] not in (None, "")}
    usual = next(iter(stated.values())) if len(stated) == 1 else (None, None)
    for _, group in groupby(slices, key=lambda one: one.entry.name):
        frames = list(group)
        syntax = _checked_syntax(frames[0])
        if syntax in (ImplicitVRLittleEndian, ExplicitVRLittleEndian):
            planes = _native(frames, implicit=syntax == ImplicitVRLittleEndian)
        else:
            planes = _decoded(frames)
        for plane, one in zip(planes, frames, strict=True):
            pixels, count = without_padding(_stored_bits(plane, one), plane, one, usual)
            if padded is not None:
                padded.append(count)
            yield pixels


def _checked_syntax(one: Slice) -> str:
    header = one.header
    _require_grey(one)
    meta = getattr(header, "file_meta", None) or {}
    syntax = meta.get("TransferSyntaxUID")
    if syntax is None:
        raise broken_dicom(one.entry, "the file has no transfer syntax", "missing-tag")
    if not _decodes(syntax):
        raise DataError(
            f"the pixels are compressed as {_named(syntax)}, which cannot be decoded here",
            where=str(one.entry.path or one.entry.name),
            rule="pixels are uncompressed, RLE, JPEG, JPEG-LS or JPEG 2000",
            remedy="let the archive send them uncompressed (Explicit VR Little Endian), or "
            "decompress them with a program that knows this compression; pydicom with "
            "pylibjpeg-openjpeg knows High-Throughput JPEG 2000",
            code="unknown-compression",
        )
    return str(syntax)


def _named(syntax: UID) -> str:
    return str(syntax) if syntax.name == syntax else f"{syntax.name} ({syntax})"


def _require_grey(one: Slice) -> None:
    """One grey value a pixel, dark where it is low."""
    samples = int(one.header.get("SamplesPerPixel") or 1)
    meaning = str(one.header.get("PhotometricInterpretation") or "nothing")
    if samples == 1 and meaning == "MONOCHROME2":
        return
    problem = {
        "MONOCHROME1": "the pixels are MONOCHROME1: low values are bright, so they are no "
        "Hounsfield units",
    }.get(meaning, f"the pixels are {meaning} with {samples} values each")
    inverted = "convert it to MONOCHROME2 with its rescale, or export the reconstruction itself"
    colour = "give the scan itself: this is a picture of it, such as a screen capture or a report"
    raise DataError(
        problem,
        where=str(one.entry.path or one.entry.name),
        rule="the pixels of a CT or MR are one grey value each (MONOCHROME2)",
        remedy=inverted if meaning == "MONOCHROME1" else colour,
        code="not-grey",
    )


def _decodes(syntax: UID) -> bool:
    """Whether there is a decoder; uncompressed pixels need none."""
    try:
        return not syntax.is_encapsulated or bool(get_decoder(syntax).is_available)
    except (ValueError, NotImplementedError):
        return False


def _native(frames: Sequence[Slice], *, implicit: bool) -> Iterator[NDArray[Any]]:
    """Uncompressed pixels; as many bytes as rows, columns and frames declare."""
    header, entry = frames[0].header, frames[0].entry
    each, frame_count = image_bytes(frames[0]), int(header.get("NumberOfFrames") or 1)
    rows, columns, bits = (int(header[name].value) for name in _SIZES)
    kind = "i" if int(header.get("PixelRepresentation") or 0) else "u"
    with entry.open() as file:
        start = native_start(file, frames[0], frame_count, implicit=implicit)
        for one in frames:
            file.seek(start + one.frame * each)
            data = file.read(each)
            if len(data) != each:
                problem = f"the file has {len(data)} bytes of pixels, the header declares {each}"
                raise broken_dicom(entry, problem)
            yield np.frombuffer(data, f"<{kind}{bits // 8}").reshape(rows, columns)


def _decoded(frames: Sequence[Slice]) -> Iterator[NDArray[Any]]:
    """Compressed, deflated or big-endian pixels."""
    one = frames[0]
    dataset = whole_dataset(one)
    if "PixelData" not in dataset:
        raise broken_dicom(one.entry, "the file has no pixels")
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
        raise broken_dicom(one.entry, f"the pixels cannot be decoded ({error})") from error


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
            raise broken_dicom(
                one.entry, f"the file cannot be parsed ({type(error).__name__}: {error})"
            ) from error


def _stored_bits(pixels: NDArray[Any], one: Slice) -> NDArray[Any]:
    """Pixels without the bits above BitsStored, where old files kept overlays."""
    stored = int(value(one.header, "BitsStored", one.entry))
    high = int(one.header.get("HighBit", stored - 1))
    if not 1 <= stored <= pixels.dtype.itemsize * 8 or high != stored - 1:
        raise broken_dicom(
            one.entry,
            f"{stored} bits are stored with high bit {high}, which is not supported",
            "bad-tag",
        )
    unused = pixels.dtype.itemsize * 8 - stored
    if unused == 0:
        return pixels
    # Shifting up and back drops the unused bits and, for signed pixels, spreads the sign.
    return np.asarray((pixels << unused) >> unused)


AIR_HU = -1024.0
"""What padding of a CT becomes; that of an MR becomes 0."""

HIGHEST_HU = 30_000.0
"""Highest plausible CT number [HU]: values above it, like those below air, were not measured."""

NO_AIR_HU = -900.0
"""Stored types that cannot represent less cannot represent air: padding is then kept."""


def without_padding(
    stored: NDArray[Any], raw: NDArray[Any], one: Slice, usual: tuple[Any, Any] = (None, None)
) -> tuple[NDArray[Any], int]:
    """The stored pixels (Y, X) with padding as air, and how many pixels changed.

    ``raw`` are the same pixels with the bits above BitsStored; ``usual`` is the padding of the
    series, for a slice that states none.
    """
    own = _padding_of(one)
    limits = _limits(usual if own[0] in (None, "") else own, raw.dtype)
    is_ct = str(one.header.get("Modality", "")).upper() == "CT"
    line = _line(one)
    if limits is None or line is None or not (is_ct or one.header.get("Modality") == "MR"):
        return stored, 0
    low, high = limits
    marked = ((raw >= low) & (raw <= high)) | ((stored >= low) & (stored <= high))
    if not marked.any():
        return stored, 0
    slope, intercept = line
    bounds = np.iinfo(stored.dtype)
    aim = (AIR_HU if is_ct else 0.0) - intercept
    filler = int(np.clip(np.rint(aim / slope), bounds.min, bounds.max))
    if is_ct and filler * slope + intercept > NO_AIR_HU:
        return stored, 0
    hu = raw.astype(np.float64) * slope + intercept
    never = marked & ((hu < AIR_HU) | (hu > HIGHEST_HU)) if is_ct else np.zeros_like(marked)
    padding = (never | _at_edge(marked)) & (stored != filler)
    count = int(padding.sum())
    return (np.where(padding, stored.dtype.type(filler), stored), count) if count else (stored, 0)


def _at_edge(marked: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The marked pixels that are connected to a marked pixel at the edge of the image."""
    from scipy.ndimage import (
        label,
    )  # most series have no padding: imported only for those that have it

    patches, _ = label(marked)
    edge = np.concatenate([patches[0], patches[-1], patches[:, 0], patches[:, -1]])
    return np.asarray(np.isin(patches, edge[edge > 0]))


def _padding_of(one: Slice) -> tuple[Any, Any]:
    """The two elements that state the padding of a slice."""
    return one.header.get("PixelPaddingValue"), one.header.get("PixelPaddingRangeLimit")


def _limits(found: tuple[Any, Any], dtype: np.dtype[Any]) -> tuple[int, int] | None:
    """Lowest and highest padding, read as the pixels are: signed or not, however written."""
    try:
        numbers = [int(value) for value in found if value not in (None, "")]
    except (TypeError, ValueError):
        return None
    if found[0] in (None, "") or dtype.kind not in "iu":
        return None
    bits = dtype.itemsize * 8
    pattern = np.array([value & ((1 << bits) - 1) for value in numbers], f"u{dtype.itemsize}")
    ends = pattern.view(f"{dtype.kind}{dtype.itemsize}").tolist()
    return min(ends), max(ends)


def _line(one: Slice) -> tuple[float, float] | None:
    slope, intercept = one.header.get("RescaleSlope"), one.header.get("RescaleIntercept")
    try:
        line = float(1 if slope is None else slope), float(0 if intercept is None else intercept)
    except (TypeError, ValueError):
        return None
    return line if np.isfinite(line).all() and line[0] != 0 else None
