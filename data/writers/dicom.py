"""A volume as a DICOM series: CT Image Storage for CT and CBCT, MR Image Storage for MR.

Every byte follows from the arguments: UIDs derive from a seed and the content, dates are fixed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, MRImageStorage
from pydicom.valuerep import format_number_as_ds

from synthct.data.errors import DataError
from synthct.data.files import whole_folder
from synthct.data.volume import Grid, Modality, Volume

FIXED_DATE, FIXED_TIME = "20000101", "000000"
"""In every date and time: outputs do not depend on the clock."""

IMPLEMENTATION_UID = "2.25.118419512358142339461043706132419720011"
"""Names this writer in the file meta information."""

CBCT_MODEL = "Cone-beam CT"
"""Model name given to a CBCT without one: DICOM has no modality of its own for cone-beam CT."""

_CONVENTIONAL_AIR_HU = -1024


def derive_uid(*names: str) -> str:
    """A UID under the ``2.25`` root (a 128-bit integer) that follows from the names alone."""
    digest = hashlib.sha256("\0".join(names).encode()).digest()
    return f"2.25.{int.from_bytes(digest[:16], 'big')}"


@dataclass(frozen=True, eq=False)
class StoredPixels:
    """16-bit pixels and their line: ``value = slope * pixel + intercept``."""

    pixels: NDArray[np.uint16] | NDArray[np.int16]
    slope: float
    intercept: float


def write_series(
    folder: Path,
    volume: Volume,
    *,
    patient_id: str,
    study: str,
    series_description: str,
    attributes: Mapping[str, Any] | None = None,
    attributes_of_slice: Callable[[int], Mapping[str, Any]] | None = None,
    uid_seed: str,
) -> list[Path]:
    """Write one file a slice into ``folder`` (replacing it), lowest slice normal first.

    CT and CBCT are rounded to whole HU; MR that is not whole-numbered is quantised to 16 bits
    with a rescale slope, so it comes back within half a step of ``(max - min) / 65535``.

    Parameters
    ----------
    folder
        Written atomically.
    volume
        CT, CBCT (distinguished by ``ManufacturerModelName``) or MR; oblique directions are kept.
    patient_id
        Patient ID and name.
    study
        Name of the study; series of one patient and study share StudyInstanceUID and
        FrameOfReferenceUID.
    series_description
        Distinguishes the series of one study.
    attributes
        DICOM keywords set last in every slice, e.g. ``{"RepetitionTime": 500.0}``.
    attributes_of_slice
        From the slice's index in ``volume`` to keywords of that slice alone.
    uid_seed
        All UIDs derive from it; use one for all series of a data set.
    """
    stored = _to_pixels(volume)
    common = _series(volume, stored, patient_id, study, series_description, uid_seed)
    for keyword, value in (attributes or {}).items():
        setattr(common, keyword, _spelled(value))
    names = [f"{number:04d}.dcm" for number in range(volume.grid.shape[0])]
    with whole_folder(folder) as building:
        for number, (index, name) in enumerate(zip(slice_order(volume.grid), names, strict=True)):
            dataset = _slice(common, volume.grid, stored, index, number)
            for keyword, value in (attributes_of_slice or _no_attributes)(index).items():
                setattr(dataset, keyword, _spelled(value))
            dataset.save_as(building / name, enforce_file_format=True)
    return [folder / name for name in names]


def _no_attributes(_index: int) -> Mapping[str, Any]:
    return {}


def _to_pixels(volume: Volume) -> StoredPixels:
    if not np.isfinite(volume.array).all():
        raise DataError(
            "the volume has NaN or infinite voxels",
            rule="DICOM pixels are finite",
            remedy="replace them with air (CT) or 0 (MR)",
            code="not-finite",
        )
    if volume.modality in (Modality.CT, Modality.CBCT):
        return _ct_pixels(np.rint(volume.array).astype(np.int64))
    if volume.modality is Modality.MR:
        return _mr_pixels(volume.array)
    raise DataError(
        f"the volume is {volume.modality}",
        rule="a DICOM image series is CT, CBCT or MR",
        remedy="write it as .mha or .nii.gz",
        code="modality-not-dicom",
    )


def _ct_pixels(values: NDArray[np.int64]) -> StoredPixels:
    low, high = int(values.min()), int(values.max())
    if low >= _CONVENTIONAL_AIR_HU and high - _CONVENTIONAL_AIR_HU <= 65535:
        shifted = (values - _CONVENTIONAL_AIR_HU).astype(np.uint16)
        return StoredPixels(shifted, 1.0, float(_CONVENTIONAL_AIR_HU))
    if low < -32768 or high > 32767:
        raise DataError(
            f"the values reach from {low} to {high}",
            rule="HU fit into 16 bits",
            remedy="check the unit",
            code="hu-range",
        )
    return StoredPixels(values.astype(np.int16), 1.0, 0.0)


def _mr_pixels(values: NDArray[Any]) -> StoredPixels:
    low, high = float(values.min()), float(values.max())
    whole = bool((values == np.rint(values)).all())
    if whole and low >= 0 and high <= 65535:
        return StoredPixels(values.astype(np.uint16), 1.0, 0.0)
    if whole and low >= -32768 and high <= 32767:
        return StoredPixels(values.astype(np.int16), 1.0, 0.0)
    # Quantise with the values as written (16 characters), which will be read back.
    slope = float(format_number_as_ds((high - low) / 65535 or 1.0))
    intercept = float(format_number_as_ds(low))
    steps = np.rint((values.astype(np.float64) - intercept) / slope)
    return StoredPixels(np.clip(steps, 0, 65535).astype(np.uint16), slope, intercept)


def slice_order(grid: Grid) -> list[int]:
    """Slice indices from low to high along the normal (row direction x column direction)."""
    indices = list(range(grid.shape[0]))
    return indices if np.linalg.det(np.asarray(grid.direction)) > 0 else indices[::-1]


def _series(
    volume: Volume,
    stored: StoredPixels,
    patient_id: str,
    study: str,
    series_description: str,
    uid_seed: str,
) -> Dataset:
    content = hashlib.sha256(stored.pixels.tobytes()).hexdigest()
    geometry = repr((volume.grid, stored.slope, stored.intercept))
    one_study = (uid_seed, patient_id, study)
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    for keyword in ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate"):
        setattr(dataset, keyword, FIXED_DATE)
        setattr(dataset, keyword.replace("Date", "Time"), FIXED_TIME)
    dataset.AccessionNumber = dataset.ReferringPhysicianName = ""
    dataset.Manufacturer = "synthct"
    dataset.PatientName = dataset.PatientID = patient_id
    dataset.PatientBirthDate = dataset.PatientSex = ""
    dataset.StudyID, dataset.SeriesNumber, dataset.AcquisitionNumber = "", 1, 1
    dataset.SeriesDescription = series_description
    dataset.StudyInstanceUID = derive_uid("study", *one_study)
    dataset.FrameOfReferenceUID = derive_uid("frame", *one_study)
    dataset.PositionReferenceIndicator = ""
    dataset.SeriesInstanceUID = derive_uid(
        "series", *one_study, series_description, str(volume.modality), geometry, content
    )
    dataset.PatientPosition = "HFS"
    _modality(dataset, volume.modality)
    _pixel_facts(dataset, volume.grid, stored)
    return dataset


def _modality(dataset: Dataset, modality: Modality) -> None:
    if modality is Modality.MR:
        dataset.SOPClassUID, dataset.Modality = MRImageStorage, "MR"
        dataset.ScanningSequence, dataset.SequenceVariant = "RM", "NONE"
        dataset.ScanOptions = dataset.MRAcquisitionType = ""
        dataset.RepetitionTime = dataset.EchoTime = dataset.EchoTrainLength = None
    else:
        dataset.SOPClassUID, dataset.Modality = CTImageStorage, "CT"
        dataset.KVP = None
    dataset.ManufacturerModelName = CBCT_MODEL if modality is Modality.CBCT else "digital patient"


def _pixel_facts(dataset: Dataset, grid: Grid, stored: StoredPixels) -> None:
    z_mm, y_mm, x_mm = grid.spacing_mm
    direction = np.asarray(grid.direction)
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = grid.shape[1], grid.shape[2]
    dataset.PixelSpacing = decimals([y_mm, x_mm])
    dataset.SliceThickness = decimal(z_mm)
    if dataset.Modality == "MR":
        dataset.SpacingBetweenSlices = decimal(z_mm)
    dataset.ImageOrientationPatient = decimals([*direction[::-1, 2], *direction[::-1, 1]])
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 16, 15
    dataset.PixelRepresentation = int(stored.pixels.dtype == np.int16)
    rescaled = stored.slope != 1 or stored.intercept != 0
    if dataset.Modality == "CT" or rescaled:
        dataset.RescaleIntercept = decimal(stored.intercept)
        dataset.RescaleSlope = decimal(stored.slope)
        dataset.RescaleType = "HU" if dataset.Modality == "CT" else "US"


def _slice(common: Dataset, grid: Grid, stored: StoredPixels, index: int, number: int) -> Dataset:
    dataset = Dataset()
    dataset.update(common)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.ImplementationClassUID = UID(IMPLEMENTATION_UID)
    dataset.file_meta.ImplementationVersionName = "SYNTHCT"
    dataset.SOPInstanceUID = derive_uid(str(common.SeriesInstanceUID), str(number))
    dataset.file_meta.MediaStorageSOPClassUID = common.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.InstanceNumber = number + 1
    corner = grid.points(np.array([index, 0, 0]))
    dataset.ImagePositionPatient = decimals(corner[::-1])
    normal = np.cross(*np.asarray(grid.direction)[::-1, [2, 1]].T)
    dataset.SliceLocation = decimal(float(normal @ corner[::-1]))
    dataset.PixelData = (
        stored.pixels[index].astype("<u2" if not common.PixelRepresentation else "<i2").tobytes()
    )
    dataset["PixelData"].VR = "OW"
    return dataset


def decimal(value: float) -> str:
    """A decimal string of at most 16 characters."""
    return format_number_as_ds(float(value) + 0.0)  # + 0.0: no negative zero


def decimals(values: Any) -> list[str]:
    """Each value as :func:`decimal`."""
    return [decimal(value) for value in values]


def _spelled(value: Any) -> Any:
    if isinstance(value, float):
        return decimal(value)
    return (
        decimals(value)
        if isinstance(value, tuple | list) and value and isinstance(value[0], float)
        else value
    )
