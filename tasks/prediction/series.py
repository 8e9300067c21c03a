"""A synthetic CT as a DICOM series in the study of its source."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset

from synthct.data.volume import Volume
from synthct.data.writers.dicom import write_series
from synthct.data.writers.segmentation import write_segmentation
from synthct.tasks.prediction.reference import Reference, overlong_values

NOT_FOR_CLINICAL_USE = "Not for clinical use."

_DATES = ("SeriesDate", "SeriesTime", "AcquisitionDate", "AcquisitionTime", "ContentDate",
          "ContentTime")  # fmt: skip

NAMELESS = "SYNTHCT"
"""Patient ID and name if there is no reference."""

UNTRUSTED = ("UNTRUSTED", "99SYNTHCT", "Synthetic CT not to be trusted")
"""Type of the segment: no standard terminology has one, so the code is private (PS3.3 8.2)."""

SOURCE_IMAGE = ("121322", "Source image for image processing operation")
"""Purpose of reference (DICOM PS3.16, CID 7202)."""

PROCESSING = ("109102", "Processing Equipment")
"""Purpose of reference of the contributing equipment (CID 7005)."""


def write_sct(
    folder: Path,
    volume: Volume,
    *,
    derivation: str,
    caution: str,
    reference: Reference | None,
    uid_seed: str,
    title: str = "synthetic CT",
) -> list[Path]:
    """Write ``folder`` atomically; without a reference the patient is unnamed and the frame new.

    Parameters
    ----------
    derivation
        Text of ``DerivationDescription``.
    caution
        ``Not for clinical use.``, or empty if the release is cleared.
    reference
        Series whose patient, study and frame of reference are copied, and whose slices are
        referenced as source images if they are on the same grid.
    title
        Title for the series description.
    """
    attributes = {
        **series_attributes(derivation, caution),
        **({} if reference is None else {**_days(reference), **reference.taken_over()}),
    }
    same_grid = reference is not None and reference.grid.is_close(volume.grid, 1e-2)
    if reference is not None and same_grid:
        attributes["ReferencedSeriesSequence"] = [_series_item(reference)]
    with overlong_values():
        return write_series(
            folder,
            volume,
            patient_id=NAMELESS,
            study="synthct",
            series_description=title + (" (not for clinical use)" if caution else ""),
            attributes=attributes,
            attributes_of_slice=_sources(reference) if reference and same_grid else None,
            uid_seed=uid_seed,
        )


def write_untrusted(
    file: Path, mask: Volume, *, derivation: str, caution: str, reference: Reference | None,
    uid_seed: str,
) -> None:  # fmt: skip
    """Write the untrusted voxels as a DICOM segmentation in the same study and frame of reference.

    The frames reference the reference's slices as source images if they are on the same grid.
    """
    taken = {} if reference is None else {**_days(reference), **reference.taken_over()}
    same_grid = reference is not None and reference.grid.is_close(mask.grid, 1e-2)
    attributes = {
        key: value
        for key, value in taken.items()
        if key != "PatientPosition" and not key.startswith("Acquisition")
    }
    if reference is not None and same_grid:
        attributes["ReferencedSeriesSequence"] = [_series_item(reference)]
    with overlong_values():
        write_segmentation(
            file,
            mask,
            label=UNTRUSTED[2],
            kind=UNTRUSTED,
            algorithm="synthct predict --interval",
            patient_id=NAMELESS,
            study="synthct",
            series_description="not to be trusted" + (" (not for clinical use)" if caution else ""),
            attributes={**attributes, "ContentDescription": derivation[:64]},
            source_of_slice=_named(reference) if reference and same_grid else None,
            uid_seed=uid_seed,
        )


def _named(reference: Reference) -> Callable[[int], tuple[str, str]]:
    return lambda index: reference.headers.instances[index]


def series_attributes(derivation: str, caution: str) -> dict[str, Any]:
    """Attributes that mark the voxels as computed, not measured."""
    equipment = Dataset()
    equipment.PurposeOfReferenceCodeSequence = [_code(*PROCESSING)]
    equipment.Manufacturer = "synthct"
    equipment.ManufacturerModelName = "synthct predict"
    equipment.ContributionDescription = derivation[:1024]
    return {
        "ImageType": ["DERIVED", "SECONDARY", "AXIAL"],
        "DerivationDescription": derivation[:1024],
        "Manufacturer": "synthct",
        "ManufacturerModelName": "synthct predict",
        "ImageComments": f"Computed by a neural network. {caution}".strip(),
        "BurnedInAnnotation": "NO",
        "Laterality": "",
        "ContributingEquipmentSequence": [equipment],
    }


def _days(reference: Reference) -> Mapping[str, Any]:
    """Dates of the source: planning systems sort by date, and a result has no clock time."""
    values = {
        kind: reference.text(f"Acquisition{kind}", f"Series{kind}", f"Study{kind}")
        for kind in ("Date", "Time")
    }
    return {keyword: values[keyword[-4:]] for keyword in _DATES if values[keyword[-4:]]}


def _series_item(reference: Reference) -> Dataset:
    item = Dataset()
    item.SeriesInstanceUID = reference.headers.series
    item.ReferencedInstanceSequence = [_instance(*pair) for pair in reference.headers.instances]
    return item


def _sources(reference: Reference) -> Callable[[int], Mapping[str, Any]]:
    def of_slice(index: int) -> Mapping[str, Any]:
        source = _instance(*reference.headers.instances[index])
        source.PurposeOfReferenceCodeSequence = [_code(*SOURCE_IMAGE)]
        source.SpatialLocationsPreserved = "YES"
        return {"SourceImageSequence": [source]}

    return of_slice


def _instance(sop_class: str, sop_instance: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, sop_instance
    return item


def _code(value: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "DCM", meaning
    return item
