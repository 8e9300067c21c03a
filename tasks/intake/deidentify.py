"""De-identified copies: new data sets with a few facts of the original.

A whitelist (geometry, pixels, rescale, acquisition facts in known terms) instead of a blacklist: no
other element, private or not, is copied. This fulfils the basic profile of DICOM PS3.15 Annex E,
with its options *modified dates* (shifted by the same number of days for all scans of a patient)
and, on request, *clean recognizable visual features* (see ``tasks/ingestion/deface.py``). UIDs are
replaced by keyed hashes, so that references between copies are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, MRImageStorage

from synthct.data.files import whole_folder
from synthct.data.readers.cbct_detection import CONE_BEAM
from synthct.data.readers.dicom import one_series, read_series
from synthct.data.readers.pixels import frame_pixels
from synthct.data.readers.slice import Slice, further_elements
from synthct.data.readers.slices import stack
from synthct.data.volume import Modality, Volume
from synthct.data.writers import write_image
from synthct.data.writers.dicom import CBCT_MODEL, IMPLEMENTATION_UID
from synthct.tasks.ingestion.deface import defaced
from synthct.tasks.intake.pseudonym import Pseudonyms
from synthct.tasks.intake.vocabulary import NUMBERS, WORDS, allowed

METHOD = "synthct: whitelist of geometry, pixels and acquisition facts"

BASIC, MODIFIED_DATES, NO_FACE = (
    ("113100", "Basic Application Confidentiality Profile"),
    ("113107", "Retain Longitudinal Temporal Information Modified Dates Option"),
    ("113102", "Clean Recognizable Visual Features Option"),
)
"""Codes of DICOM PS3.16, CID 7050."""

EMPTY = ("Manufacturer", "SliceThickness", "PatientPosition", "AcquisitionNumber", "Laterality")
EMPTY_CT = ("KVP",)
EMPTY_MR = ("ScanOptions", "MRAcquisitionType", "RepetitionTime", "EchoTime", "EchoTrainLength")
"""Type 2 elements of the copies (PS3.3 A.3, A.4): empty where the source has no allowed value,
never absent. ScanningSequence and SequenceVariant (type 1) are then research mode and none."""

DATES = ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate")


def copy_series(
    *, path: str, series: str, folder: str, patient: str, modality: str, key: str, deface: bool
) -> int:
    """Write a series as ``0000.dcm`` ... in slice order, with the pseudonym as patient.

    Runs in the reader process, which parses foreign files. Returns the number of files.
    """
    names, kind = Pseudonyms(key.encode()), Modality(modality)
    found = one_series(Path(path), series)
    slices = stack(found, path).slices
    planes: Sequence[NDArray[Any]] = list(frame_pixels(slices))
    if deface:
        planes = _without_face(planes, slices, read_series(found, path, kind))
    with whole_folder(Path(folder)) as building:
        for number, (one, pixels) in enumerate(zip(slices, planes, strict=True)):
            clean = clean_slice(one, patient, kind, names)
            if deface:
                _add_method(clean, NO_FACE)
            _put_pixels(clean, pixels)
            clean.InstanceNumber = number + 1
            clean.file_meta = _file_meta(clean)
            clean.save_as(building / f"{number:04d}.dcm", enforce_file_format=True)
    return len(slices)


def clean_slice(one: Slice, patient: str, modality: Modality, names: Pseudonyms) -> Dataset:
    """A new data set with the whitelisted facts of one slice and nothing else."""
    source, dated = one.header, further_elements(one, ("SOPInstanceUID", *DATES))
    clean = Dataset()
    clean.SpecificCharacterSet = "ISO_IR 192"
    is_mr = modality is Modality.MR
    clean.SOPClassUID = MRImageStorage if is_mr else CTImageStorage
    clean.Modality = "MR" if is_mr else "CT"
    clean.ImageType = ["DERIVED", "PRIMARY", "AXIAL"]
    clean.PatientName = clean.PatientID = patient
    clean.PatientBirthDate = clean.PatientSex = ""
    clean.PatientIdentityRemoved, clean.DeidentificationMethod = "YES", METHOD
    clean.LongitudinalTemporalInformationModified = "MODIFIED"
    for keyword in ("StudyTime", "AccessionNumber", "ReferringPhysicianName",
                    "StudyID", "SeriesNumber", "PositionReferenceIndicator"):  # fmt: skip
        setattr(clean, keyword, None)
    for keyword in DATES:
        setattr(clean, keyword, shifted(str(dated.get(keyword) or ""), names.days(patient)))
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        if source.get(keyword):
            setattr(clean, keyword, names.uid(str(source.get(keyword))))
    instance = str(dated.get("SOPInstanceUID") or f"{source.SeriesInstanceUID} {one.entry.name}")
    clean.SOPInstanceUID = names.uid(f"{instance} {one.frame}" if one.frame else instance)
    _add_method(clean, BASIC)
    _add_method(clean, MODIFIED_DATES)
    for keyword in (*EMPTY, *(EMPTY_MR if is_mr else EMPTY_CT)):
        setattr(clean, keyword, None)
    if is_mr:
        clean.ScanningSequence, clean.SequenceVariant = "RM", "NONE"
    _copy_numbers(source, clean)
    _copy_words(source, clean)
    if modality is Modality.CBCT and not CONE_BEAM.search(clean.get("ManufacturerModelName", "")):
        clean.ManufacturerModelName = CBCT_MODEL
    return clean


def shifted(day: str, days: int) -> str:
    """The DICOM date ``days`` days before ``day``; empty if that is empty or not a date."""
    try:
        earlier = date(int(day[:4]), int(day[4:6]), int(day[6:8])) - timedelta(days=days)
    except (ValueError, OverflowError):
        return ""
    return earlier.strftime("%Y%m%d")


def copy_volume(volume: Volume, path: Path, *, deface: bool = False) -> None:
    """Write voxels and geometry to a new file, without the header texts of the source."""
    write_image(path, defaced(volume) if deface else volume)


def _add_method(clean: Dataset, code: tuple[str, str]) -> None:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code[0], "DCM", code[1]
    clean.DeidentificationMethodCodeSequence = [
        *clean.get("DeidentificationMethodCodeSequence", []), item,
    ]  # fmt: skip


def _copy_numbers(source: Dataset, clean: Dataset) -> None:
    for keyword, (low, high) in NUMBERS.items():
        found = source.get(keyword)
        if found is None or found == "":
            continue
        single = isinstance(found, str) or not hasattr(found, "__iter__")
        try:
            numbers = [float(part) for part in ([found] if single else found)]
        except (TypeError, ValueError):
            continue
        if np.isfinite(numbers).all() and low <= min(numbers) and max(numbers) <= high:
            setattr(clean, keyword, found)


def _copy_words(source: Dataset, clean: Dataset) -> None:
    for keyword in WORDS:
        found = source.get(keyword)
        parts = [found] if isinstance(found, str) else list(found or [])
        texts = [allowed(keyword, str(part)) for part in parts]
        if texts and all(texts):
            setattr(clean, keyword, texts if len(texts) > 1 else texts[0])


def _without_face(
    planes: Sequence[NDArray[Any]], slices: Sequence[Slice], volume: Volume
) -> list[NDArray[Any]]:
    """Stored pixels with the new values of the voxels that :func:`defaced` changed."""
    clean = defaced(volume)
    changed_planes = []
    for number, (pixels, one) in enumerate(zip(planes, slices, strict=True)):
        slope = float(one.header.get("RescaleSlope") or 1)
        intercept = float(one.header.get("RescaleIntercept") or 0)
        stored = np.rint((clean.array[number].astype(float) - intercept) / slope)
        limits = np.iinfo(pixels.dtype)
        stored = np.clip(stored, limits.min, limits.max).astype(pixels.dtype)
        changed = clean.array[number] != volume.array[number]
        changed_planes.append(np.where(changed, stored, pixels))
    return changed_planes


def _put_pixels(clean: Dataset, pixels: NDArray[Any]) -> None:
    clean.SamplesPerPixel, clean.PhotometricInterpretation = 1, "MONOCHROME2"
    clean.Rows, clean.Columns = pixels.shape
    bits = pixels.dtype.itemsize * 8
    clean.BitsAllocated = clean.BitsStored = bits
    clean.HighBit = bits - 1
    clean.PixelRepresentation = int(pixels.dtype.kind == "i")
    data = np.ascontiguousarray(pixels, dtype=pixels.dtype.newbyteorder("<")).tobytes()
    clean.PixelData = data + b"\0" * (len(data) % 2)
    clean["PixelData"].VR = "OW" if bits > 8 else "OB"


def _file_meta(clean: Dataset) -> FileMetaDataset:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = clean.SOPClassUID
    meta.MediaStorageSOPInstanceUID = clean.SOPInstanceUID
    meta.ImplementationClassUID = UID(IMPLEMENTATION_UID)
    meta.ImplementationVersionName = "SYNTHCT"
    return meta
