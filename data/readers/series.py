"""Finding the DICOM image series among the files of a source, from their headers alone."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
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
from synthct.data.readers.cbct_detection import CONE_BEAM, modality_of
from synthct.data.readers.entries import Entry
from synthct.data.readers.pixel_element import PIXEL_DATA
from synthct.data.readers.slice import Slice, broken_dicom, frames_of
from synthct.data.volume import Modality

__all__ = ["CONE_BEAM", "Broken", "Series", "Slice", "find_series", "modality_of", "read_slices"]

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


@dataclass(frozen=True, eq=False)
class Series:
    """The slices that share one SeriesInstanceUID, in file-name order."""

    uid: str
    slices: tuple[Slice, ...]
    set_aside: int = 0
    """Localizers and captures with the same UID, which are a series of their own here."""

    @property
    def first(self) -> Dataset:
        """Header of the first slice, for what is common to all."""
        return self.slices[0].header

    @property
    def modality(self) -> Modality | None:
        """CT, CBCT, MR or DOSE; None for anything else (PET, structure sets, plans, ...)."""
        return modality_of(self.first)

    @property
    def folder(self) -> str:
        """Folder of the first slice below the source."""
        return self.slices[0].entry.name.rpartition("/")[0]

    @property
    def title(self) -> str:
        """Modality, description and number of files, for messages."""
        about = str(self.first.get("SeriesDescription", "")).strip() or self.folder or "no name"
        number = str(self.first.get("SeriesNumber") or "").strip()
        counted = f"series {number}, {len(self.slices)}" if number else f"{len(self.slices)}"
        return f"{self.first.get('Modality', '?')} {about!r} ({counted} files)"

    def called(self, selector: str) -> bool:
        """Whether ``selector`` is its UID, number or description."""
        names = (self.uid, self.first.get("SeriesNumber"), self.first.get("SeriesDescription"))
        return selector.strip() in [str(name).strip() for name in names if name not in (None, "")]


def find_series(files: Sequence[Entry], selector: str = "") -> list[Series]:
    """Every DICOM series among the files, or those called ``selector``, by first file name.

    Other files are skipped. An unreadable file raises, because it may be a slice; with ``selector``
    only one in a folder of the series does.
    """
    slices, broken = read_slices(files)
    found = [series for series in group_series(slices) if not selector or series.called(selector)]
    folders = {one.entry.name.rpartition("/")[0] for series in found for one in series.slices}
    for one in broken:
        if not selector or one.entry.name.rpartition("/")[0] in folders:
            raise one.error
    return found


@dataclass(frozen=True, eq=False)
class Broken:
    """A DICOM file that cannot be read, and why."""

    entry: Entry
    error: DataError


def read_slices(files: Sequence[Entry]) -> tuple[list[Slice], list[Broken]]:
    """The slices of all DICOM files, the frames of multi-frame ones each by itself; and the rest.

    Files that are not DICOM are skipped; unreadable ones are returned with their errors.
    """
    slices: list[Slice] = []
    broken: list[Broken] = []
    for entry in files:
        try:
            one = read_slice(entry)
            slices += [] if one is None else frames_of(one)
        except DataError as error:
            broken.append(Broken(entry, error))
    return slices, broken


def group_series(slices: Sequence[Slice]) -> list[Series]:
    """The slices by SeriesInstanceUID and kind of object; those without a UID are left out.

    Some systems give a structure set, a dose, a screen capture or a localizer the UID of its CT.
    """
    groups: dict[tuple[str, str], list[Slice]] = {}
    for one in slices:
        if "SeriesInstanceUID" in one.header:
            key = (str(one.header.SeriesInstanceUID).strip(), _object_kind(one.header))
            groups.setdefault(key, []).append(one)
    _return_slices(groups)
    return [one for (uid, _), members in groups.items() for one in _without_views(uid, members)]


def _return_slices(groups: dict[tuple[str, str], list[Slice]]) -> None:
    """Give slices of which the SOP class was damaged back to their series.

    One wrong bit in it must not make a first or last slice an object of another kind, which would
    be left out. A slice has the plane and size of the others; a capture has not, or says what it
    is.
    """
    for (uid, kind), members in list(groups.items()):
        scan = groups.get((uid, "image"))
        if kind == "image" or not scan:
            continue
        lost = [
            one
            for one in members
            if one.header.get("ImagePositionPatient")
            and modality_of(one.header) in _IMAGED
            and "SCREEN SAVE" not in _image_type(one.header)
            and _of_one_stack(one.header, scan[0].header)
        ]
        scan += lost
        groups[uid, kind] = [one for one in members if one not in lost]
        if not groups[uid, kind]:
            del groups[uid, kind]


def _without_views(uid: str, members: Sequence[Slice]) -> list[Series]:
    """The slices of a scan, and its localizers and captures as a second series.

    Both must show it: the header says what the image is, and its plane or size is another one than
    that of the slices. An image that only says so may be a slice, so it stays among them.
    """
    slices = [one for one in members if not _is_view(one.header)]
    aside = [
        one
        for one in members
        if slices and _is_view(one.header) and not _of_one_stack(one.header, slices[0].header)
    ]
    if not aside:
        return [Series(uid, tuple(members))]
    kept = tuple(one for one in members if one not in aside)
    return [Series(uid, kept, set_aside=len(aside)), Series(uid, tuple(aside))]


def _is_view(header: Dataset) -> bool:
    return is_localizer(header) or is_capture(header)


_STACKED = ("Rows", "Columns", "PixelSpacing", "ImageOrientationPatient")


def _of_one_stack(header: Dataset, other: Dataset) -> bool:
    """Whether two images have the same size, pixel spacing and orientation."""
    try:
        pairs = [
            [np.atleast_1d(np.asarray(one.get(keyword), float)) for one in (header, other)]
            for keyword in _STACKED
        ]
    except (TypeError, ValueError):
        return False
    return all(a.shape == b.shape and np.allclose(a, b, rtol=0, atol=1e-3) for a, b in pairs)


def _object_kind(header: Dataset) -> str:
    """``image`` for all classes of CT and MR images, otherwise the SOP class itself."""
    sop_class = str(header.get("SOPClassUID") or _meta(header, "MediaStorageSOPClassUID") or "")
    if not sop_class:
        return "image" if modality_of(header) in _IMAGED else str(header.get("Modality", ""))
    return "image" if sop_class in IMAGES and sop_class != RTDoseStorage else sop_class


_IMAGED = (Modality.CT, Modality.CBCT, Modality.MR)


def image_series(found: Sequence[Series]) -> list[Series]:
    """The series with pixels of a modality we read.

    Of objects with one SeriesInstanceUID a capture is left out where the scan itself is present.
    """
    images = [one for one in found if one.modality is not None and "Rows" in one.first]
    scans = {one.uid for one in images if _object_kind(one.first) == "image"}
    return [
        one
        for one in images
        if one.uid not in scans
        or one.modality is Modality.DOSE
        or _object_kind(one.first) == "image"
    ]


def is_localizer(header: Dataset) -> bool:
    """Whether the image only localizes others (scout, topogram)."""
    return "LOCALIZER" in _image_type(header)


def is_capture(header: Dataset) -> bool:
    """Whether the image is a picture of a screen or a page, such as a dose report."""
    kind = _object_kind(header)
    return (kind.startswith("1.") and kind != RTDoseStorage) or "SCREEN SAVE" in _image_type(header)


def _image_type(header: Dataset) -> list[str]:
    found = header.get("ImageType") or []
    return [str(part).upper() for part in ([found] if isinstance(found, str) else found)]


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
            for (
                keyword
            ) in GEOMETRY_TAGS:  # values are parsed at first access: here, where errors are caught
                header.get(keyword)
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
    sop_class = str(header.get("SOPClassUID") or _meta(header, "MediaStorageSOPClassUID") or "")
    return sop_class in IMAGES if sop_class else modality_of(header) is not None


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


def _meta(header: Dataset, keyword: str) -> Any:
    meta = getattr(header, "file_meta", None)
    return meta.get(keyword) if meta is not None else None


def _is_directory(header: Dataset) -> bool:
    return bool(_meta(header, "MediaStorageSOPClassUID") == MediaStorageDirectoryStorage)
