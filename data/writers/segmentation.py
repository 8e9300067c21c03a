"""A mask as a DICOM segmentation (PS3.3 A.51): one binary segment, a frame for each slice."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.tag import Tag
from pydicom.uid import UID, ExplicitVRLittleEndian, SegmentationStorage

from synthct.data.errors import DataError
from synthct.data.files import write_whole
from synthct.data.volume import Grid, Modality, Volume
from synthct.data.writers.dicom import (
    FIXED_DATE,
    FIXED_TIME,
    IMPLEMENTATION_UID,
    decimals,
    derive_uid,
    slice_order,
)

CATEGORY = ("309825002", "SCT", "Spatial and Relational Concept")
"""Category of the segment (CID 7150): a spatial concept, neither tissue nor finding."""

DERIVED = ("113076", "DCM", "Segmentation")
"""How the frames derive from their source images (CID 7203)."""

SOURCE_IMAGE = ("121322", "DCM", "Source image for image processing operation")


def write_segmentation(
    file: Path,
    mask: Volume,
    *,
    label: str,
    kind: tuple[str, str, str],
    algorithm: str,
    patient_id: str,
    study: str,
    series_description: str,
    attributes: Mapping[str, Any] | None = None,
    source_of_slice: Callable[[int], tuple[str, str]] | None = None,
    uid_seed: str,
) -> None:
    """Write one file, whole or not at all; every byte follows from the arguments.

    Parameters
    ----------
    file
        Name ending in ``.dcm``; its folder exists.
    mask
        Array (Z, Y, X); above 0 is inside.
    label, kind
        The segment's name, and its type as (code value, coding scheme, meaning).
    algorithm
        Name of what made it.
    patient_id, study, series_description, attributes, uid_seed
        As in :func:`synthct.data.writers.dicom.write_series`: of one patient and study, both have
        one study and frame of reference.
    source_of_slice
        From a slice's index to (SOP class, SOP instance) of the image that it was made from.

    Raises
    ------
    DataError
        ``modality-not-mask``: the volume is not a mask.
    """
    if mask.modality is not Modality.MASK:
        raise DataError(
            f"the volume is {mask.modality}",
            rule="a DICOM segmentation is written from a mask",
            remedy="write it as a series, or as .mha or .nii.gz",
            code="modality-not-mask",
        )
    frames = (np.asarray(mask.array) > 0)[slice_order(mask.grid)]
    dataset = _series(mask.grid, frames.tobytes(), patient_id, study, series_description, uid_seed)
    dataset.ContentLabel = "SEGMENTATION"
    dataset.ContentDescription, dataset.ContentCreatorName = label, ""
    dataset.SegmentSequence = [_segment(label, kind, algorithm)]
    dataset.SharedFunctionalGroupsSequence = [_shared(mask.grid)]
    dataset.PerFrameFunctionalGroupsSequence = [
        _frame(mask.grid, index, number, source_of_slice)
        for number, index in enumerate(slice_order(mask.grid), start=1)
    ]
    for keyword, value in (attributes or {}).items():
        setattr(dataset, keyword, value)
    # Frames follow each other bit by bit, without filling up to a byte in between (PS3.5 8.1.1).
    packed = np.packbits(frames.ravel(), bitorder="little").tobytes()
    dataset.PixelData = packed + b"\0" * (len(packed) % 2)
    dataset["PixelData"].VR = "OB"
    written = io.BytesIO()
    dataset.save_as(written, enforce_file_format=True)
    write_whole(file, written.getvalue())


def _series(
    grid: Grid, content: bytes, patient_id: str, study: str, description: str, uid_seed: str
) -> Dataset:
    one_study = (uid_seed, patient_id, study)
    digest = hashlib.sha256(content).hexdigest()
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID, dataset.Modality = SegmentationStorage, "SEG"
    dataset.StudyInstanceUID = derive_uid("study", *one_study)
    dataset.FrameOfReferenceUID = derive_uid("frame", *one_study)
    dataset.SeriesInstanceUID = derive_uid("segmentation", *one_study, description, digest)
    dataset.SOPInstanceUID = derive_uid(str(dataset.SeriesInstanceUID), "0")
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.ImplementationClassUID = UID(IMPLEMENTATION_UID)
    dataset.file_meta.ImplementationVersionName = "SYNTHCT"
    dataset.file_meta.MediaStorageSOPClassUID = SegmentationStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    for keyword in ("StudyDate", "SeriesDate", "ContentDate"):
        setattr(dataset, keyword, FIXED_DATE)
        setattr(dataset, keyword.replace("Date", "Time"), FIXED_TIME)
    dataset.PatientName = dataset.PatientID = patient_id
    for keyword in (
        "PatientBirthDate", "PatientSex", "AccessionNumber", "ReferringPhysicianName", "StudyID",
        "PositionReferenceIndicator",
    ):  # fmt: skip
        setattr(dataset, keyword, "")
    dataset.SeriesNumber, dataset.InstanceNumber = 3, 1
    dataset.SeriesDescription = description
    dataset.Manufacturer = dataset.ManufacturerModelName = "synthct"
    dataset.DeviceSerialNumber, dataset.SoftwareVersions = "0", "synthct"
    dataset.ImageType = ["DERIVED", "PRIMARY"]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.NumberOfFrames, dataset.Rows, dataset.Columns = grid.shape
    dataset.BitsAllocated = dataset.BitsStored = 1
    dataset.HighBit = dataset.PixelRepresentation = 0
    dataset.LossyImageCompression, dataset.BurnedInAnnotation = "00", "NO"
    dataset.SegmentationType = "BINARY"
    _dimensions(dataset)
    return dataset


def _dimensions(dataset: Dataset) -> None:
    """Frames are ordered by segment, then by place along the stack."""
    organisation = Dataset()
    uid = organisation.DimensionOrganizationUID = derive_uid(
        str(dataset.SeriesInstanceUID), "dimensions"
    )
    dataset.DimensionOrganizationSequence = [organisation]
    dataset.DimensionIndexSequence = [
        _dimension(uid, "ReferencedSegmentNumber", "SegmentIdentificationSequence"),
        _dimension(uid, "ImagePositionPatient", "PlanePositionSequence"),
    ]


def _dimension(uid: str, pointer: str, group: str) -> Dataset:
    item = Dataset()
    item.DimensionOrganizationUID = uid
    item.DimensionIndexPointer, item.FunctionalGroupPointer = Tag(pointer), Tag(group)
    item.DimensionDescriptionLabel = pointer
    return item


def _segment(label: str, kind: tuple[str, str, str], algorithm: str) -> Dataset:
    item = Dataset()
    item.SegmentNumber, item.SegmentLabel = 1, label
    item.SegmentAlgorithmType, item.SegmentAlgorithmName = "AUTOMATIC", algorithm
    item.SegmentedPropertyCategoryCodeSequence = [_code(*CATEGORY)]
    item.SegmentedPropertyTypeCodeSequence = [_code(*kind)]
    return item


def _shared(grid: Grid) -> Dataset:
    z_mm, y_mm, x_mm = grid.spacing_mm
    direction = np.asarray(grid.direction)
    measures, orientation, group, identified = Dataset(), Dataset(), Dataset(), Dataset()
    measures.PixelSpacing = decimals([y_mm, x_mm])
    measures.SliceThickness = measures.SpacingBetweenSlices = decimals([z_mm])[0]
    orientation.ImageOrientationPatient = decimals([*direction[::-1, 2], *direction[::-1, 1]])
    identified.ReferencedSegmentNumber = 1
    group.PixelMeasuresSequence = [measures]
    group.PlaneOrientationSequence = [orientation]
    group.SegmentIdentificationSequence = [identified]
    return group


def _frame(
    grid: Grid,
    index: int,
    number: int,
    source_of_slice: Callable[[int], tuple[str, str]] | None,
) -> Dataset:
    content, position, group = Dataset(), Dataset(), Dataset()
    content.DimensionIndexValues = [1, number]
    position.ImagePositionPatient = decimals(grid.points(np.array([index, 0, 0]))[::-1])
    group.FrameContentSequence = [content]
    group.PlanePositionSequence = [position]
    if source_of_slice is not None:
        image, derivation = Dataset(), Dataset()
        image.ReferencedSOPClassUID, image.ReferencedSOPInstanceUID = source_of_slice(index)
        image.PurposeOfReferenceCodeSequence = [_code(*SOURCE_IMAGE)]
        derivation.SourceImageSequence = [image]
        derivation.DerivationCodeSequence = [_code(*DERIVED)]
        group.DerivationImageSequence = [derivation]
    return group


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item
