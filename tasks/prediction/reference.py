"""The DICOM series that a synthetic CT is filed beside: its patient, study and frame."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset

from synthct.data.errors import UsageError
from synthct.data.readers import format_of
from synthct.data.readers.dicom import one_series
from synthct.data.readers.entries import Entry
from synthct.data.readers.slices import stack
from synthct.data.volume import Grid

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


@dataclass(frozen=True, eq=False)
class Reference:
    """What ``--dicom-reference`` names.

    Parameters
    ----------
    header
        Of one slice, without pixels.
    instances
        (SOP class, SOP instance) of each slice, in the order of the volume's slices.
    grid
        Where the series lies.
    """

    header: Dataset
    instances: tuple[tuple[str, str], ...]
    grid: Grid

    @property
    def frame(self) -> str:
        """FrameOfReferenceUID; empty where the series has none."""
        return str(self.header.get("FrameOfReferenceUID", "") or "")

    def taken_over(self) -> dict[str, Any]:
        """Values of the Patient, Study and Frame of Reference Modules, as text."""
        with overlong_values():
            return {
                keyword: _plain(self.header.get(keyword))
                for keyword in (*PATIENT, *STUDY, *FRAME)
                if keyword in self.header
            }


def read_reference(path: Path) -> Reference:
    """Read the headers of the one image series in a DICOM folder or zip."""
    series = one_series(path)
    pile = stack(series, str(path))
    instances = tuple(_instance(one.entry) for one in pile.slices)
    entry = series.slices[0].entry
    with overlong_values(), entry.open() as file:
        header = pydicom.dcmread(file, stop_before_pixels=True, force=True)
    return Reference(header, instances, pile.grid)


def _instance(entry: Entry) -> tuple[str, str]:
    with overlong_values(), entry.open() as file:
        tags: list[Any] = ["SOPClassUID", "SOPInstanceUID"]
        header = pydicom.dcmread(file, stop_before_pixels=True, force=True, specific_tags=tags)
    return str(header.get("SOPClassUID", "")), str(header.get("SOPInstanceUID", ""))


def check_same_place(reference: Reference, path: Path, scan: Path, grid: Grid) -> None:
    """The reference must share the scan's frame and its box must hold the scan's centre.

    Its frame of reference is taken over: a reference of another patient or another day would
    file the synthetic CT where it is not.
    """
    there = reference.grid
    index = there.index(np.asarray(grid.centre_mm))
    if np.any(index < -0.5) or np.any(index > np.asarray(there.shape) - 0.5):
        raise _elsewhere(path, f"centres {_mm(there.centre_mm)} and {_mm(grid.centre_mm)} mm")
    if format_of(scan) == "dicom":
        frames = {reference.frame, _frame_of(scan)}
        if len(frames - {""}) > 1:
            raise _elsewhere(path, "another FrameOfReferenceUID than the scan's")


def _frame_of(scan: Path) -> str:
    return str(one_series(scan).first.get("FrameOfReferenceUID", "") or "")


def _elsewhere(reference: Path, got: str) -> UsageError:
    return UsageError(
        "the DICOM reference lies where the scan lies: its frame of reference is taken over",
        where=str(reference),
        got=got,
        remedy="give the series that the scan was made from",
        code="reference-elsewhere",
    )


@contextlib.contextmanager
def overlong_values() -> Iterator[None]:
    """Hospitals file longer study IDs than the standard allows; they are taken over as they are."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The value length", category=UserWarning)
        warnings.filterwarnings("ignore", message="Invalid value for VR", category=UserWarning)
        yield


def _plain(value: Any) -> Any:
    """Text, so that it is written in this file's character set and not in the reference's."""
    if value is None:
        return ""
    return str(value) if not isinstance(value, list | tuple) else [str(part) for part in value]


def _mm(point: tuple[float, float, float]) -> str:
    return "(" + ", ".join(f"{value:.0f}" for value in point) + ")"
