"""Contours (RTSTRUCT) of the source, carried over so that they lie on the synthetic CT."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, RTStructureSetStorage

from synthct.data.errors import UsageError
from synthct.data.readers.entries import Entry, entries
from synthct.data.readers.series import is_dicom
from synthct.data.writers.dicom import IMPLEMENTATION_UID, derive_uid
from synthct.tasks.prediction.reference import Reference, overlong_values

FILE = "structures-{number}.dcm"
"""Name in the folder of the new series."""

_KEPT = (
    "StructureSetLabel", "StructureSetName", "StructureSetDate", "StructureSetTime",
    "StructureSetROISequence", "ROIContourSequence", "RTROIObservationsSequence",
    "ApprovalStatus",
)  # fmt: skip
"""What makes the contours; operators, machines and private tags stay behind."""


def find_structures(paths: Sequence[Path], reference: Reference) -> list[Dataset]:
    """Structure sets in the paths (files, folders, zips) that share the reference's frame."""
    found = []
    for path in paths:
        for entry in entries(path):
            dataset = _structure_set(entry)
            if dataset is not None and reference.frame in _frames(dataset):
                found.append(dataset)
    return found


def require_structures(path: Path, reference: Reference) -> list[Dataset]:
    """The structure sets of a path that was named for them; none that fits is a usage fault."""
    found = find_structures([path], reference)
    if not found:
        raise UsageError(
            "structures are an RTSTRUCT in the frame of reference of --dicom-reference",
            where=str(path),
            got="none",
            remedy="give the structure set that was drawn on the reference or registered to it",
            code="no-structures",
        )
    return found


def _structure_set(entry: Entry) -> Dataset | None:
    if not is_dicom(entry):
        return None
    with overlong_values(), entry.open() as file:
        dataset = pydicom.dcmread(file, force=True)
    return dataset if dataset.get("Modality") == "RTSTRUCT" else None


def _frames(dataset: Dataset) -> set[str]:
    return {
        str(item.get("FrameOfReferenceUID", ""))
        for item in dataset.get("ReferencedFrameOfReferenceSequence", None) or ()
    }


def write_structures(
    folder: Path, sets: Sequence[Dataset], files: Sequence[Path], reference: Reference
) -> list[Path]:
    """Write each structure set anew into ``folder``, its images those in ``files``.

    The points stay where they are (mm, same frame); references to the old images become
    references to the synthetic CT's, and the patient is the reference's.
    """
    images = [pydicom.dcmread(file, stop_before_pixels=True) for file in files]
    written = []
    for number, given in enumerate(sets):
        path = folder / FILE.format(number=number)
        with overlong_values():
            _anew(given, images, reference).save_as(path, enforce_file_format=True)
        written.append(path)
    return written


def _anew(given: Dataset, images: Sequence[Dataset], reference: Reference) -> Dataset:
    series, frame = str(images[0].SeriesInstanceUID), str(images[0].FrameOfReferenceUID)
    digest = hashlib.sha256(str(given.get("SOPInstanceUID", "")).encode()).hexdigest()
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.file_meta.ImplementationClassUID = UID(IMPLEMENTATION_UID)
    made.file_meta.MediaStorageSOPClassUID = RTStructureSetStorage
    made.SpecificCharacterSet = "ISO_IR 192"
    made.SOPClassUID, made.Modality = RTStructureSetStorage, "RTSTRUCT"
    made.SOPInstanceUID = derive_uid("structures", series, digest)
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    made.SeriesInstanceUID = derive_uid("structure series", series, digest)
    made.SeriesDescription = "contours of the source, on the synthetic CT"
    made.Manufacturer, made.ManufacturerModelName = "synthct", "synthct predict"
    made.SeriesNumber, made.InstanceNumber, made.OperatorsName = 2, 1, ""
    for keyword, value in reference.taken_over().items():
        if keyword not in ("PositionReferenceIndicator", "PatientPosition"):
            setattr(made, keyword, value)
    made.PositionReferenceIndicator = ""
    for keyword in _KEPT:
        if keyword in given:
            made[keyword] = copy.deepcopy(given[keyword])
    made.ApprovalStatus = "UNAPPROVED"
    made.StructureSetLabel = str(made.get("StructureSetLabel", "") or "contours")
    _point_at(made, images, frame, series)
    return made


def _point_at(made: Dataset, images: Sequence[Dataset], frame: str, series: str) -> None:
    """Name the new images wherever the old ones were named."""
    whole = Dataset()
    whole.SeriesInstanceUID = series
    whole.ContourImageSequence = [_image(image) for image in images]
    study = Dataset()
    study.ReferencedSOPClassUID = "1.2.840.10008.3.1.2.3.1"  # Detached Study Management (retired)
    study.ReferencedSOPInstanceUID = str(images[0].StudyInstanceUID)
    study.RTReferencedSeriesSequence = [whole]
    referenced = Dataset()
    referenced.FrameOfReferenceUID = frame
    referenced.RTReferencedStudySequence = [study]
    made.ReferencedFrameOfReferenceSequence = [referenced]
    for roi in made.get("StructureSetROISequence", None) or ():
        roi.ReferencedFrameOfReferenceUID = frame
    planes = _planes(images)
    for roi in made.get("ROIContourSequence", None) or ():
        for contour in roi.get("ContourSequence", None) or ():
            nearest = _nearest(contour, planes)
            if nearest is not None:
                contour.ContourImageSequence = [_image(images[nearest])]
            elif "ContourImageSequence" in contour:
                del contour.ContourImageSequence


def _image(image: Dataset) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = str(image.SOPClassUID)
    item.ReferencedSOPInstanceUID = str(image.SOPInstanceUID)
    return item


def _planes(images: Sequence[Dataset]) -> Mapping[str, Any]:
    row, column = np.reshape(np.asarray(images[0].ImageOrientationPatient, float), (2, 3))
    normal = np.cross(row, column)
    along = np.array([normal @ np.asarray(i.ImagePositionPatient, float) for i in images])
    step = float(np.abs(np.diff(along)).mean()) if len(along) > 1 else 1.0
    return {"normal": normal, "along_mm": along, "step_mm": step}


def _nearest(contour: Dataset, planes: Mapping[str, Any]) -> int | None:
    """Index of the image a contour lies on; None where it lies beyond or on no single one."""
    points = np.reshape(np.asarray(contour.get("ContourData", None) or [], float), (-1, 3))
    if not len(points):
        return None
    heights = points @ planes["normal"]
    if np.ptp(heights) > planes["step_mm"] / 2:
        return None
    gaps = np.abs(planes["along_mm"] - heights.mean())
    nearest = int(gaps.argmin())
    return nearest if gaps[nearest] <= planes["step_mm"] / 2 + 1e-3 else None
