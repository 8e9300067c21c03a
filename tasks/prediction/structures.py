"""Contours (RTSTRUCT) of the source, carried over to the synthetic CT.

A structure set may hold structures in several frames of reference. Only those in the reference's
own frame are carried over, with unchanged coordinates. The others are left out and counted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, RTStructureSetStorage

from synthct.data.errors import UsageError
from synthct.data.readers import (
    Contour,
    SeriesHeaders,
    Structure,
    StructureSet,
    read_reference_series,
    read_structure_sets,
)
from synthct.data.writers.dicom import IMPLEMENTATION_UID, derive_uid
from synthct.tasks.prediction.reference import Reference, overlong_values

FILE = "structures-{number}.dcm"
"""File name in the folder of the new series."""


@dataclass(frozen=True, eq=False)
class Carried:
    """The structures of one set that are carried over.

    Parameters
    ----------
    given
        The original set.
    kept
        The structures drawn in the reference's frame of reference.
    """

    given: StructureSet
    kept: tuple[Structure, ...]

    @property
    def note(self) -> str:
        """Note on structures left out, by number, as names may identify a person; or empty."""
        kept = {one.number for one in self.kept}
        left = [str(one.number) for one in self.given.structures if one.number not in kept]
        if not left:
            return ""
        return (
            f"{len(left)} of {len(self.given.structures)} structures are left out (ROI number "
            f"{', '.join(left)}): they are not drawn in the frame of reference of "
            "--dicom-reference, and no registration between the frames is given"
        )


def carried(sets: Sequence[StructureSet], reference: Reference) -> list[Carried]:
    """The structure sets with structures drawn in the reference's frame, and those structures."""
    place = reference.headers
    found = []
    for given in sets:
        kept = [one for one in given.structures if one.drawn_on.lies_on(place.frame, place.series)]
        if kept:
            found.append(Carried(given, tuple(kept)))
    return found


def require_structures(path: Path, reference: Reference) -> list[Carried]:
    """The structures to carry over from a given path; a usage error if there are none."""
    sets = read_structure_sets(path)
    found = carried(sets, reference)
    if not found:
        raise UsageError(
            "none of its structures is drawn in that frame of reference"
            if sets
            else "it holds no RTSTRUCT",
            rule="structures are an RTSTRUCT in the frame of reference of --dicom-reference",
            where=str(path),
            remedy="give the structure set that was drawn on the reference or registered to it",
            code="no-structures",
        )
    return found


def write_structures(folder: Path, sets: Sequence[Carried], reference: Reference) -> list[Path]:
    """Write a new structure set for each given one into the ``folder`` of the new series.

    Coordinates are unchanged (mm, same frame). References to the old images become references to
    those of the synthetic CT, and the patient is the reference's.
    """
    if not sets:
        return []
    images, _ = read_reference_series(folder, ())
    written = []
    for number, one in enumerate(sets):
        path = folder / FILE.format(number=number)
        with overlong_values():
            _anew(one, images, reference).save_as(path, enforce_file_format=True)
        written.append(path)
    return written


def _anew(one: Carried, images: SeriesHeaders, reference: Reference) -> Dataset:
    made = _empty(one.given.uid, images.series)
    for keyword, value in reference.taken_over().items():
        if keyword not in ("PositionReferenceIndicator", "PatientPosition"):
            setattr(made, keyword, value)
    made.PositionReferenceIndicator = ""
    for keyword, value in one.given.texts.items():
        setattr(made, keyword, value)
    made.ApprovalStatus = "UNAPPROVED"
    made.StructureSetLabel = str(made.get("StructureSetLabel", "") or "contours")
    made.ReferencedFrameOfReferenceSequence = [_referenced(images)]
    planes = _Planes.of(images)
    made.StructureSetROISequence = [_definition(roi, images.frame) for roi in one.kept]
    drawn = [_drawn(roi, planes) for roi in one.kept if roi.drawn is not None]
    if drawn:
        made.ROIContourSequence = drawn
    observed = [Dataset.from_json(dict(item)) for roi in one.kept for item in roi.observed]
    for item in observed:
        item.ROIInterpreter = ""  # required, may be empty; names of people are not copied
    if observed:
        made.RTROIObservationsSequence = observed
    return made


def _empty(uid: str, series: str) -> Dataset:
    digest = hashlib.sha256(uid.encode()).hexdigest()
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
    return made


def _referenced(images: SeriesHeaders) -> Dataset:
    """The Referenced Frame of Reference Sequence with the new images in place of the old ones."""
    whole = Dataset()
    whole.SeriesInstanceUID = images.series
    whole.ContourImageSequence = [_image(pair) for pair in images.instances]
    study = Dataset()
    study.ReferencedSOPClassUID = "1.2.840.10008.3.1.2.3.1"  # Detached Study Management (retired)
    study.ReferencedSOPInstanceUID = images.study
    study.RTReferencedSeriesSequence = [whole]
    referenced = Dataset()
    referenced.FrameOfReferenceUID = images.frame
    referenced.RTReferencedStudySequence = [study]
    return referenced


def _definition(roi: Structure, frame: str) -> Dataset:
    item = Dataset.from_json(dict(roi.definition))
    item.ReferencedFrameOfReferenceUID = frame
    return item


def _drawn(roi: Structure, planes: _Planes) -> Dataset:
    item = Dataset.from_json(dict(roi.drawn or {}))
    contours = [_contour(contour, planes) for contour in roi.contours]
    if contours:
        item.ContourSequence = contours
    return item


def _contour(contour: Contour, planes: _Planes) -> Dataset:
    item = Dataset.from_json(dict(contour.item))
    image = planes.nearest(contour.points_mm)
    if image is not None:
        item.ContourImageSequence = [_image(image)]
    if len(contour.points_mm):
        item.NumberOfContourPoints = len(contour.points_mm)
        item.ContourData = [f"{number:.6f}" for number in contour.points_mm[:, ::-1].ravel()]
    return item


def _image(instance: tuple[str, str]) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = instance
    return item


@dataclass(frozen=True, eq=False)
class _Planes:
    """Positions of a series' images along their normal (z, y, x) [mm]."""

    instances: Sequence[tuple[str, str]]
    normal: NDArray[np.float64]
    along_mm: NDArray[np.float64]
    step_mm: float

    @classmethod
    def of(cls, images: SeriesHeaders) -> _Planes:
        count = images.grid.shape[0]
        corners = np.stack([np.arange(count), np.zeros(count), np.zeros(count)], axis=1)
        normal = np.asarray(images.grid.direction)[:, 0]
        along = images.grid.points(corners) @ normal
        return cls(images.instances, normal, along, images.grid.spacing_mm[0])

    def nearest(self, points_mm: NDArray[np.float64]) -> tuple[str, str] | None:
        """The image of a contour; None if it is outside the stack or not in one plane."""
        if not len(points_mm):
            return None
        heights = points_mm @ self.normal
        if np.ptp(heights) > self.step_mm / 2:
            return None
        gaps = np.abs(self.along_mm - heights.mean())
        near = int(gaps.argmin())
        return self.instances[near] if gaps[near] <= self.step_mm / 2 + 1e-3 else None
