"""Headers of DICOM files before their pixels: elements that are read, and completeness."""

from __future__ import annotations

import warnings
from typing import Any, BinaryIO

import pydicom
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    EnhancedCTImageStorage,
    EnhancedMRImageStorage,
    ExplicitVRBigEndian,
    MediaStorageDirectoryStorage,
    MRImageStorage,
    RTDoseStorage,
)

from synthct.data.errors import DataError
from synthct.data.readers.cbct_detection import modality_of
from synthct.data.readers.entries import Entry
from synthct.data.readers.pixel_element import PIXEL_DATA
from synthct.data.readers.slice import Slice, broken_dicom

GEOMETRY_TAGS = [
    "SOPClassUID", "Modality", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID",
    "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "Rows", "Columns",
    "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "SamplesPerPixel",
    "PhotometricInterpretation", "NumberOfFrames", "RescaleSlope", "RescaleIntercept",
    "PixelPaddingValue", "PixelPaddingRangeLimit",
]  # fmt: skip
"""Elements that are read of every slice."""

HEADER_TAGS = [
    *GEOMETRY_TAGS,
    "ImageType", "Manufacturer", "ManufacturerModelName", "PatientID", "PatientName",
    "PatientBirthDate", "StudyDate", "SeriesNumber", "AcquisitionNumber", "InstanceNumber",
    "SeriesDescription", "BodyPartExamined", "SliceThickness", "SpacingBetweenSlices",
    "GantryDetectorTilt", "KVP", "DistanceSourceToDetector", "DistanceSourceToPatient",
    "RepetitionTime", "EchoTime", "InversionTime", "FlipAngle", "MagneticFieldStrength",
    "ImagingFrequency", "PixelBandwidth", "NumberOfAverages", "ScanningSequence",
    "SequenceVariant", "ScanOptions", "MRAcquisitionType", "EchoTrainLength",
    "AcquisitionMatrix", "InPlanePhaseEncodingDirection", "ConvolutionKernel",
    "ReconstructionDiameter", "PatientPosition", "BurnedInAnnotation", "LossyImageCompression",
    "DoseSummationType",
]  # fmt: skip
"""Elements that rows and facts may contain."""

READ_TAGS = [
    *HEADER_TAGS, "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
    "GridFrameOffsetVector", "DoseGridScaling", "DoseUnits", "SOPInstanceUID",
]  # fmt: skip
"""Elements that are parsed; everything else is skipped."""

_CODES = (
    "Modality", "ImageType", "PhotometricInterpretation", "PatientPosition", "BurnedInAnnotation",
    "DoseUnits", "DoseSummationType",
)  # fmt: skip
"""Code strings that decide how a file is read."""

IMAGES = frozenset(
    {CTImageStorage, MRImageStorage, EnhancedCTImageStorage, EnhancedMRImageStorage, RTDoseStorage}
)
"""Classes of objects that always hold pixels."""

DICOM_SUFFIXES = (".dcm", ".ima")

APPLE_DOUBLE = b"\x00\x05\x16\x07"
"""First bytes of the files that macOS adds (``._0001.dcm``; RFC 1740)."""


def is_dicom(entry: Entry) -> bool:
    """Whether the file has DICOM's prefix, or starts like a data set without one."""
    with entry.open() as file:
        return _starts_like_dicom(file)


def _starts_like_dicom(file: BinaryIO) -> bool:
    start = file.read(132)
    return start[128:132] == b"DICM" or start[:4] in (b"\x08\x00\x05\x00", b"\x08\x00\x08\x00")


def read_slice(entry: Entry) -> Slice | None:
    """The facts in ``HEADER_TAGS``; None where the file is no DICOM.

    A file named or starting like DICOM without a series UID was truncated: it raises, because
    skipping it could lose the first or last slice unnoticed.
    """
    with entry.open() as file:
        return _read_slice(entry, file)


def _read_slice(entry: Entry, file: BinaryIO) -> Slice | None:
    if not _starts_like_dicom(file):
        file.seek(0)
        resource_fork = file.read(4) == APPLE_DOUBLE
        if entry.name.lower().endswith(DICOM_SUFFIXES) and not resource_fork:
            raise broken_dicom(entry, "the file does not start like DICOM")
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # values longer than their VR allows: tolerated on reading
        try:
            file.seek(0)
            header = pydicom.dcmread(
                file, stop_before_pixels=True, force=True, specific_tags=list(READ_TAGS)
            )
            offset = file.tell()
            for keyword in GEOMETRY_TAGS:
                header.get(keyword)  # parsed at first access: here, where errors are caught
            _in_capitals(header)
        except DataError:
            raise
        except Exception as error:  # pydicom raises a dozen kinds on damaged headers
            raise broken_dicom(
                entry, f"the file cannot be parsed ({type(error).__name__}: {error})"
            ) from error
    if not header.get("SeriesInstanceUID") and not _is_directory(header):
        raise broken_dicom(entry, "the file has no SeriesInstanceUID", "missing-tag")
    if _is_image(header):
        _require_pixels(entry, file, header, offset)
    return Slice(entry, header, offset)


def _in_capitals(header: Dataset) -> None:
    """Code strings as PS3.5 6.2 has them; some writers use small letters or add spaces."""
    for keyword in _CODES:
        found = header.get(keyword)
        if isinstance(found, str):
            plain: Any = found.strip().upper()
        elif isinstance(found, MultiValue):
            plain = [str(part).strip().upper() for part in found]
        else:
            continue
        if plain != found:
            header[keyword].value = plain


def _is_image(header: Dataset) -> bool:
    kind = sop_class(header)
    return kind in IMAGES if kind else modality_of(header) is not None


def _require_pixels(entry: Entry, file: BinaryIO, header: Dataset, offset: int) -> None:
    """The header of an image ends where its pixels start: one that was cut off has none.

    Otherwise a first or last slice with a truncated header could be taken for something else, and
    the scan would lose a slice unnoticed.
    """
    deflated = _meta(header, "TransferSyntaxUID") == DeflatedExplicitVRLittleEndian
    if not deflated:
        file.seek(offset)
    big = _meta(header, "TransferSyntaxUID") == ExplicitVRBigEndian
    tag = b"\x7f\xe0\x00\x10" if big else PIXEL_DATA
    if "Rows" not in header or not (deflated or file.read(4) == tag):
        raise broken_dicom(entry, "the header of the image ends before its pixels")


def sop_class(header: Dataset) -> str:
    """The class of the object, from the data set or the file's meta information; "" if neither."""
    return str(header.get("SOPClassUID") or _meta(header, "MediaStorageSOPClassUID") or "")


def _meta(header: Dataset, keyword: str) -> Any:
    meta = getattr(header, "file_meta", None)
    return meta.get(keyword) if meta is not None else None


def _is_directory(header: Dataset) -> bool:
    return bool(_meta(header, "MediaStorageSOPClassUID") == MediaStorageDirectoryStorage)
