"""Finding the DICOM image series among the files of a source, from their headers alone."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import MediaStorageDirectoryStorage

from data.faults import DataFault
from data.readers.entries import Entry
from data.volume import Modality

GEOMETRY_TAGS = [
    "SOPClassUID", "Modality", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID",
    "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "Rows", "Columns",
    "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "SamplesPerPixel",
    "PhotometricInterpretation", "NumberOfFrames", "RescaleSlope", "RescaleIntercept",
]  # fmt: skip
"""What every slice is asked for."""

HEADER_TAGS = [
    *GEOMETRY_TAGS,
    "ImageType", "Manufacturer", "ManufacturerModelName", "PatientID", "PatientName",
    "SeriesDescription", "InstanceNumber", "BodyPartExamined", "SliceThickness",
    "GantryDetectorTilt", "KVP",
    "RepetitionTime", "EchoTime", "InversionTime", "FlipAngle", "MagneticFieldStrength",
    "ScanningSequence", "SequenceVariant", "MRAcquisitionType", "EchoTrainLength",
    "ConvolutionKernel", "ReconstructionDiameter", "PatientPosition",
]  # fmt: skip
"""What is read of a header; the rest is asked of the first slice only."""

DICOM_SUFFIXES = (".dcm", ".ima")

CONE_BEAM = re.compile(
    r"\bOBI\b|on-?board imag|cone[- ]?beam|\bXVI\b|\bCBCT\b|\bhalcyon|\btruebeam|\bvitalbeam"
    r"|\bprobeam|\bethos\b|\bhypersight",
    re.IGNORECASE,
)
"""Model names of imagers on treatment machines: DICOM gives cone-beam CT the modality CT."""


@dataclass(frozen=True, eq=False)
class Slice:
    """One file of a series: where it is and its header (without pixels)."""

    entry: Entry
    header: Dataset
    offset: int = 0
    """Where the pixel element starts in the file."""


@dataclass(frozen=True, eq=False)
class Series:
    """The slices that share one SeriesInstanceUID, in file-name order."""

    uid: str
    slices: tuple[Slice, ...]

    @property
    def first(self) -> Dataset:
        """Header of the first slice, for what is common to all."""
        return self.slices[0].header

    @property
    def modality(self) -> Modality | None:
        """CT, CBCT or MR; None for anything else (PET, structure sets, plans, ...)."""
        return modality_of(self.first)

    @property
    def folder(self) -> str:
        """Folder of the first slice below the source."""
        return self.slices[0].entry.name.rpartition("/")[0]

    @property
    def title(self) -> str:
        """Modality, description and number of files, for messages."""
        about = str(self.first.get("SeriesDescription", "")).strip() or self.folder or "no name"
        return f"{self.first.get('Modality', '?')} {about!r} ({len(self.slices)} files)"


def modality_of(header: Dataset) -> Modality | None:
    """The modality, with cone-beam CT told from CT by the manufacturer's model name."""
    name = str(header.get("Modality", "")).upper()
    if name == "MR":
        return Modality.MR
    if name != "CT":
        return None
    model = f"{header.get('ManufacturerModelName', '')} {header.get('Manufacturer', '')}"
    return Modality.CBCT if CONE_BEAM.search(model) else Modality.CT


def find_series(files: Sequence[Entry]) -> list[Series]:
    """Every DICOM series among the files, by first file name; other files are skipped."""
    slices = (read_slice(entry) for entry in files)
    return group_series([one for one in slices if one is not None])


def group_series(slices: Sequence[Slice]) -> list[Series]:
    """The slices by their SeriesInstanceUID; those without one are left out."""
    groups: dict[str, list[Slice]] = {}
    for one in slices:
        if "SeriesInstanceUID" in one.header:
            groups.setdefault(str(one.header.SeriesInstanceUID), []).append(one)
    return [Series(uid, tuple(members)) for uid, members in groups.items()]


def image_series(found: Sequence[Series]) -> list[Series]:
    """The series with pixels of a modality we read."""
    return [one for one in found if one.modality is not None and "Rows" in one.first]


def is_dicom(entry: Entry) -> bool:
    """Whether the file has DICOM's prefix, or starts like a data set without one."""
    with entry.open() as file:
        return _starts_like_dicom(file)


def _starts_like_dicom(file: BinaryIO) -> bool:
    start = file.read(132)
    return start[128:132] == b"DICM" or start[:4] in (b"\x08\x00\x05\x00", b"\x08\x00\x08\x00")


def read_slice(entry: Entry) -> Slice | None:
    """The facts in ``HEADER_TAGS``; None where the file is no DICOM.

    A file that is called DICOM or starts like it, but does not say its series, was cut off: it
    raises, because leaving it out could lose the first or last slice unseen.
    """
    with entry.open() as file:
        return _read_slice(entry, file)


def _read_slice(entry: Entry, file: BinaryIO) -> Slice | None:
    if not _starts_like_dicom(file):
        if entry.name.lower().endswith(DICOM_SUFFIXES):
            raise broken_dicom(entry, "a file that does not start like DICOM")
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # values longer than their VR allows: tolerated on reading
        try:
            file.seek(0)
            header = pydicom.dcmread(
                file, stop_before_pixels=True, force=True, specific_tags=list(HEADER_TAGS)
            )
            offset = file.tell()
            for keyword in GEOMETRY_TAGS:  # values are parsed at first use: here, guarded
                header.get(keyword)
        except DataFault:
            raise
        except Exception as error:  # pydicom raises a dozen kinds on damaged headers
            raise broken_dicom(entry, f"{type(error).__name__}: {error}") from error
    if not header.get("SeriesInstanceUID") and not _is_directory(header):
        raise broken_dicom(entry, "no SeriesInstanceUID", "missing-tag")
    return Slice(entry, header, offset)


def _is_directory(header: Dataset) -> bool:
    meta = getattr(header, "file_meta", None)
    return meta is not None and meta.get("MediaStorageSOPClassUID") == MediaStorageDirectoryStorage


def value(header: Dataset, keyword: str, entry: Entry) -> Any:
    """A value that must be there and not empty."""
    found = header.get(keyword)
    if found is None or found == "":
        raise broken_dicom(entry, f"no {keyword}", "missing-tag")
    return found


def broken_dicom(entry: Entry, got: str, code: str = "damaged") -> DataFault:
    """The fault of a file that is not whole DICOM."""
    return DataFault(
        "a DICOM file is whole and has the values its image needs",
        where=str(entry.path or entry.name),
        got=got,
        remedy="send the series again from its source",
        code=code,
    )
