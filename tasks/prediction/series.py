"""A synthetic CT as a DICOM series that a planning system files beside the scan it came from."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset

from data.faults import UsageFault
from data.readers import describe, format_of
from data.readers.dicom import one_series
from data.readers.entries import Entry
from data.volume import Grid, Volume
from data.writers.dicom import write_series

PATIENT = (
    "PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientBirthTime",
    "PatientSex", "OtherPatientIDs",
)  # fmt: skip
"""Patient Module (DICOM PS3.3 C.7.1.1): what identifies the patient."""

STUDY = (
    "StudyInstanceUID", "StudyDate", "StudyTime", "ReferringPhysicianName", "StudyID",
    "AccessionNumber", "StudyDescription", "PatientAge", "PatientSize", "PatientWeight",
)  # fmt: skip
"""General Study and Patient Study Modules (C.7.2.1, C.7.2.2)."""

FRAME = ("FrameOfReferenceUID", "PositionReferenceIndicator", "PatientPosition")
"""Frame of Reference Module (C.7.4.1), and how the patient lay."""

SERIES_DESCRIPTION = "synthetic CT (not for clinical use)"


def reference_header(path: Path) -> Dataset:
    """Header of the series whose patient, study and frame of reference are to be taken over."""
    series = one_series(path)
    entry: Entry = series.slices[0].entry
    with entry.open() as file:
        return pydicom.dcmread(file, stop_before_pixels=True, force=True)


def check_same_place(reference: Path, scan: Path, grid: Grid) -> None:
    """The reference must share the scan's frame and its box must hold the scan's centre.

    Its frame of reference is taken over: a reference of another patient or another day would
    file the synthetic CT where it is not.
    """
    there = describe(reference).grid
    index = there.index(np.asarray(grid.centre_mm))
    if np.any(index < -0.5) or np.any(index > np.asarray(there.shape) - 0.5):
        raise _elsewhere(reference, f"centres {_mm(there.centre_mm)} and {_mm(grid.centre_mm)} mm")
    if format_of(scan) == "dicom":
        frames = {str(reference_header(path).get(FRAME[0], "")) for path in (reference, scan)}
        if len(frames - {""}) > 1:
            raise _elsewhere(reference, "another FrameOfReferenceUID than the scan's")


def _elsewhere(reference: Path, got: str) -> UsageFault:
    return UsageFault(
        "the DICOM reference lies where the scan lies: its frame of reference is taken over",
        where=str(reference),
        got=got,
        remedy="give the series that the scan was made from",
        code="reference-elsewhere",
    )


def write_sct(
    folder: Path,
    volume: Volume,
    *,
    derivation: str,
    reference: Dataset | None,
    uid_seed: str,
) -> list[Path]:
    """Write ``folder`` whole; without a reference the patient is nameless and the frame is new."""
    attributes = {**series_attributes(derivation), **taken_over(reference)}
    with _overlong_values():
        return write_series(
            folder,
            volume,
            patient_id="SYNTHCT",
            study="synthct",
            series_description=SERIES_DESCRIPTION,
            attributes=attributes,
            uid_seed=uid_seed,
        )


def series_attributes(derivation: str) -> dict[str, Any]:
    """What says that these voxels were computed and not measured."""
    return {
        "ImageType": ["DERIVED", "SECONDARY", "AXIAL"],
        "DerivationDescription": derivation[:1024],
        "Manufacturer": "synthct",
        "ManufacturerModelName": "synthct predict",
        "ImageComments": "Computed by a neural network. Not for clinical use.",
        "BurnedInAnnotation": "NO",
        "Laterality": "",
    }


def taken_over(reference: Dataset | None) -> Mapping[str, Any]:
    """Values of the reference's Patient, Study and Frame of Reference Modules, as text."""
    if reference is None:
        return {}
    with _overlong_values():
        return {
            keyword: _plain(reference.get(keyword))
            for keyword in (*PATIENT, *STUDY, *FRAME)
            if keyword in reference
        }


@contextlib.contextmanager
def _overlong_values() -> Iterator[None]:
    """Hospitals file longer study IDs than the standard allows; they are taken over as they are."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The value length", category=UserWarning)
        yield


def _plain(value: Any) -> Any:
    """Text, so that it is written in this file's character set and not in the reference's."""
    if value is None:
        return ""
    return str(value) if not isinstance(value, list | tuple) else [str(part) for part in value]


def _mm(point: tuple[float, float, float]) -> str:
    return "(" + ", ".join(f"{value:.0f}" for value in point) + ")"
