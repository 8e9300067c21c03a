"""One DICOM series of a folder (any nesting) or a zip as a volume: CT and CBCT in HU, MR as stored.

Pixels are decoded by pydicom with GDCM for the compressed transfer syntaxes.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from data.faults import DataFault
from data.readers.entries import entries
from data.readers.payload import rescaled, smallest
from data.readers.series import Series, Slice, broken_dicom, find_series, image_series, value
from data.readers.slices import stack
from data.volume import Modality, Volume


def one_series(source: Path) -> Series:
    """The one image series of a folder or zip."""
    found = image_series(find_series(entries(source)))
    if len(found) == 1:
        return found[0]
    named = "; ".join(one.title for one in found[:4]) or "no CT or MR images"
    raise DataFault(
        "a DICOM source holds one CT or MR series",
        where=str(source),
        got=f"{len(found)}: {named}" if found else named,
        remedy="give each series its own folder" if found else "give the folder of the images",
        code="several-series" if found else "no-series",
    )


def read_series(series: Series, where: str, modality: Modality | None = None) -> Volume:
    """Sort, check and decode the slices of a series.

    ``modality`` says what is expected: CBCT for a CT whose model name is not known as a cone-beam
    imager is believed, any other disagreement raises.
    """
    kind = _agreed(series.modality, modality, where)
    pile = stack(series, where)
    pixels = [stored_pixels(one) for one in pile.slices]
    lines = [_rescale(one, kind) for one in pile.slices]
    return Volume(_values(pixels, lines), pile.grid, kind)


def _values(pixels: Sequence[NDArray[Any]], lines: Sequence[tuple[float, float]]) -> NDArray[Any]:
    """Slices after their rescale (in one go where all have the same), in the smallest type."""
    if len(set(lines)) == 1:
        values = rescaled(np.stack(pixels), *lines[0])
    else:
        values = np.stack([rescaled(one, *line) for one, line in zip(pixels, lines, strict=True)])
    return smallest(values) if values.dtype.kind in "iu" else values.astype(np.float32)


def _rescale(one: Slice, modality: Modality) -> tuple[float, float]:
    slope, intercept = one.header.get("RescaleSlope"), one.header.get("RescaleIntercept")
    if modality is not Modality.MR and (slope is None or intercept is None):
        raise broken_dicom(one.entry, "CT without RescaleSlope and RescaleIntercept", "no-rescale")
    slope = 1.0 if slope is None else float(slope)
    intercept = 0.0 if intercept is None else float(intercept)
    if slope == 0 or not np.isfinite([slope, intercept]).all():
        raise broken_dicom(one.entry, f"rescale {slope} x + {intercept}", "bad-tag")
    return slope, intercept


def _agreed(said: Modality | None, wanted: Modality | None, where: str) -> Modality:
    if said is None:
        raise DataFault("a DICOM scan is CT or MR", where=where, got="neither", code="no-series")
    if wanted is None or wanted is said:
        return said
    if (said, wanted) == (Modality.CT, Modality.CBCT):
        return wanted
    raise DataFault(
        "the scan has the modality it was given as",
        where=where,
        got=f"{said} where {wanted} was expected",
        remedy="check which scan is which",
        code="wrong-modality",
    )


def whole_dataset(one: Slice) -> Dataset:
    """Every element of one slice."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with one.entry.open() as file:
                return pydicom.dcmread(file, force=True)
        except DataFault:
            raise
        except Exception as error:
            raise broken_dicom(one.entry, f"{type(error).__name__}: {error}") from error


def stored_pixels(one: Slice) -> NDArray[Any]:
    """The decoded pixels (Y, X) of one slice, before the rescale."""
    header = one.header
    if int(header.get("SamplesPerPixel") or 1) != 1 or int(header.get("NumberOfFrames") or 1) != 1:
        raise broken_dicom(one.entry, "colour or several frames", "not-grey")
    if header.get("PhotometricInterpretation") != "MONOCHROME2":
        got = f"PhotometricInterpretation {header.get('PhotometricInterpretation')}"
        raise broken_dicom(one.entry, got, "not-grey")
    syntax = getattr(header, "file_meta", {}).get("TransferSyntaxUID")
    if syntax is None:
        raise broken_dicom(one.entry, "no transfer syntax", "missing-tag")
    if syntax in (ImplicitVRLittleEndian, ExplicitVRLittleEndian):
        pixels = _plain_pixels(one, implicit=syntax == ImplicitVRLittleEndian)
    else:
        pixels = _decoded_pixels(whole_dataset(one), one)
    return _stored_bits(pixels, header, one)


def _plain_pixels(one: Slice, *, implicit: bool) -> NDArray[Any]:
    """Uncompressed pixels straight from the file; as many bytes as rows and columns declare."""
    header, entry = one.header, one.entry
    rows, columns, bits = (
        int(value(header, name, entry)) for name in ("Rows", "Columns", "BitsAllocated")
    )
    if bits not in (8, 16, 32):
        raise broken_dicom(entry, f"{bits} bits a pixel", "not-grey")
    with entry.open() as file:
        file.seek(one.offset)
        element = file.read(8 if implicit else 12)
        data = file.read(rows * columns * bits // 8)
    if element[:4] != b"\xe0\x7f\x10\x00":
        raise broken_dicom(entry, "no pixels")
    expected, declared = rows * columns * bits // 8, int.from_bytes(element[-4:], "little")
    if declared not in (expected, expected + expected % 2) or len(data) != expected:
        got = f"{min(declared, len(data))} bytes of pixels where {expected} are declared"
        raise broken_dicom(entry, got)
    kind = "i" if int(header.get("PixelRepresentation") or 0) else "u"
    return np.frombuffer(data, f"<{kind}{bits // 8}").reshape(rows, columns)


def _decoded_pixels(dataset: Dataset, one: Slice) -> NDArray[Any]:
    """Compressed pixels through pydicom's decoders (GDCM, RLE)."""
    if "PixelData" not in dataset:
        raise broken_dicom(one.entry, "no pixels")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pixels = np.asarray(dataset.pixel_array)
    except Exception as error:
        raise broken_dicom(one.entry, f"pixels that do not decode ({error})") from error
    if pixels.shape != (dataset.Rows, dataset.Columns):
        raise broken_dicom(one.entry, f"{pixels.shape} pixels")
    return pixels


def _stored_bits(pixels: NDArray[Any], header: Dataset, one: Slice) -> NDArray[Any]:
    """Pixels without the bits above BitsStored, where old files kept overlays."""
    stored = int(value(header, "BitsStored", one.entry))
    high = int(header.get("HighBit", stored - 1))
    if not 1 <= stored <= pixels.dtype.itemsize * 8 or high != stored - 1:
        raise broken_dicom(one.entry, f"{stored} bits stored, high bit {high}", "bad-tag")
    unused = pixels.dtype.itemsize * 8 - stored
    if unused == 0:
        return pixels
    # Shifting up and back drops the unused bits and, for signed pixels, spreads the sign.
    return np.asarray((pixels << unused) >> unused)
