"""DICOM series as scanners and archives write them, element by element."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    EnhancedCTImageStorage,
    EnhancedMRImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MRImageStorage,
    RLELossless,
    generate_uid,
)

from synthct.data.errors import DataError
from synthct.data.readers import read_scan
from tests.data import points

CLASSES = {"CT": (CTImageStorage, EnhancedCTImageStorage),
           "MR": (MRImageStorage, EnhancedMRImageStorage)}  # fmt: skip

WHERE = points.grid((6, 10, 12), (2.0, 1.5, 3.0), np.eye(3), (5.0, -8.0, 12.0))
VALUES = points.image(WHERE)


@dataclass
class Way:
    """How a series is written; the defaults are a plain signed CT in HU."""

    modality: str = "CT"
    kind: str = "i2"
    slope: float = 1.0
    intercept: float = 0.0
    stored_bits: int = 16
    decimals: int | None = None
    """Of positions; None: as many as needed."""
    implicit: bool = False
    compressed: bool = False
    spelled: str = "{:.10g}"
    """How the numbers of every other slice are written."""
    excess: bytes = b""
    tail: bytes = b""
    after: tuple[tuple[int, str, Any], ...] = ()
    """Elements after the pixels: tag, VR, value."""
    elements: dict[str, Any] = field(default_factory=dict)


def number(value, form="{:.10g}"):
    text = form.format(float(value) + 0.0)
    return text if len(text) <= 16 else f"{float(value):.8g}"


def header(way, series=""):
    one = Dataset()
    one.SOPClassUID, one.Modality = CLASSES[way.modality][0], way.modality
    one.PatientID, one.PatientName, one.PatientPosition = "WILD", "WILD", "HFS"
    one.StudyInstanceUID, one.FrameOfReferenceUID = generate_uid(), generate_uid()
    one.SeriesInstanceUID = series or generate_uid()
    one.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
    one.BitsAllocated = np.dtype(way.kind).itemsize * 8
    one.BitsStored = min(way.stored_bits, one.BitsAllocated)
    one.HighBit, one.PixelRepresentation = one.BitsStored - 1, int(way.kind[0] == "i")
    return one


def stored(values, way):
    """Stored numbers of HU, without the bits above BitsStored."""
    found = np.rint((values - way.intercept) / way.slope).astype(np.int64)
    bits = min(way.stored_bits, np.dtype(way.kind).itemsize * 8)
    pattern = found & ((1 << bits) - 1)
    return pattern.astype(f"u{np.dtype(way.kind).itemsize}").view(way.kind)


def placed(one, where, k, way, form="{:.10g}"):
    """Geometry of slice ``k`` in a classic header."""
    corner = where.points(np.array([k, 0, 0]))[::-1]
    if way.decimals is not None:
        one.ImagePositionPatient = [f"{x + 0.0:.{way.decimals}f}" for x in corner]
    else:
        one.ImagePositionPatient = [number(x) for x in corner]
    cosines = np.asarray(where.direction)[::-1]
    one.ImageOrientationPatient = [number(x) for x in (*cosines[:, 2], *cosines[:, 1])]
    one.PixelSpacing = [number(x, form) for x in where.spacing_mm[1:]]
    one.SliceThickness = number(where.spacing_mm[0], form)
    one.Rows, one.Columns = where.shape[1], where.shape[2]
    if way.modality == "CT" or (way.slope, way.intercept) != (1, 0):
        one.RescaleSlope, one.RescaleIntercept = (
            number(way.slope, form), number(way.intercept, form),
        )  # fmt: skip


def write_series(folder, where, values, way=None, *, pixels=None, names=None, series=""):
    """One file a slice; ``pixels`` (Z, Y, X) instead of the stored numbers of ``values``."""
    way = way or Way()
    folder.mkdir(parents=True, exist_ok=True)
    common = header(way, series)
    array = stored(values, way) if pixels is None else pixels
    for k in range(where.shape[0]):
        one = copy.deepcopy(common)
        one.SOPInstanceUID, one.InstanceNumber = generate_uid(), k + 1
        placed(one, where, k, way, way.spelled if k % 2 else "{:.10g}")
        for keyword, value in way.elements.items():
            setattr(one, keyword, value)
        one.PixelData = array[k].tobytes() + way.excess
        save(one, folder / (names[k] if names else f"{k:03d}.dcm"), way)
    return common


def save(one, path, way):
    one["PixelData"].VR = "OW"
    for tag, vr, value in way.after:
        one.add_new(tag, vr, value)
    one.file_meta = FileMetaDataset()
    one.file_meta.MediaStorageSOPClassUID = one.SOPClassUID
    one.file_meta.MediaStorageSOPInstanceUID = one.SOPInstanceUID
    one.file_meta.TransferSyntaxUID = (
        ImplicitVRLittleEndian if way.implicit else ExplicitVRLittleEndian
    )
    if way.compressed:
        one.compress(RLELossless)
    one.save_as(path, enforce_file_format=True)
    if way.tail:
        path.write_bytes(path.read_bytes() + way.tail)


def item(**values):
    one = Dataset()
    for keyword, value in values.items():
        setattr(one, keyword, value)
    return [one]


def write_enhanced(path, where, values, way=None, *, order=None, per_frame=False, top=()):
    """One enhanced file. ``per_frame``: another rescale in each frame; ``top``: keywords that also
    stand, with values of the first frame or of no use, at the top level."""
    way = way or Way()
    order = list(range(where.shape[0]) if order is None else order)
    whole = header(way)
    whole.SOPClassUID, whole.SOPInstanceUID = CLASSES[way.modality][1], generate_uid()
    whole.NumberOfFrames = len(order)
    whole.PerFrameFunctionalGroupsSequence, parts = [], []
    for k in order:
        own = copy.copy(way)
        if per_frame:
            own.slope, own.intercept = way.slope, way.intercept - way.slope * k
        one = Dataset()
        placed(one, where, k, own)
        group = Dataset()
        group.PlanePositionSequence = item(ImagePositionPatient=one.ImagePositionPatient)
        group.PixelValueTransformationSequence = item(
            RescaleSlope=number(own.slope), RescaleIntercept=number(own.intercept)
        )
        whole.PerFrameFunctionalGroupsSequence.append(group)
        parts.append(stored(values[k], own).tobytes())
    whole.SharedFunctionalGroupsSequence = item(
        PlaneOrientationSequence=item(ImageOrientationPatient=one.ImageOrientationPatient),
        PixelMeasuresSequence=item(
            PixelSpacing=one.PixelSpacing, SliceThickness=one.SliceThickness
        ),
    )
    whole.Rows, whole.Columns = where.shape[1:]
    if "position" in top:
        placed(whole, where, order[0], way)
    if "rescale" in top:
        whole.RescaleSlope, whole.RescaleIntercept = "1", "0"
    whole.PixelData = b"".join(parts)
    path.parent.mkdir(parents=True, exist_ok=True)
    save(whole, path, way)
    return path


def refused(path):
    with pytest.raises(DataError) as caught:
        read_scan(path)
    return caught.value


def edit(path, **changes):
    dataset = pydicom.dcmread(path)
    for keyword, value in changes.items():
        setattr(dataset, keyword, value)
    dataset.save_as(path)
