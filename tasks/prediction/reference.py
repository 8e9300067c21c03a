"""The DICOM reference of a synthetic CT: its patient, study and frame of reference."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from synthct.data.errors import UsageError
from synthct.data.readers import ScanFacts, SeriesHeaders, StructureSet, read_reference_series
from synthct.data.volume import Grid

PATIENT = (
    "PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientBirthTime",
    "PatientSex", "OtherPatientIDs",
)  # fmt: skip
"""Identifying elements of the Patient Module (DICOM PS3.3 C.7.1.1)."""

STUDY = (
    "StudyInstanceUID", "StudyDate", "StudyTime", "ReferringPhysicianName", "StudyID",
    "AccessionNumber", "StudyDescription", "PatientAge", "PatientSize", "PatientWeight",
)  # fmt: skip
"""General Study and Patient Study Modules (C.7.2.1, C.7.2.2)."""

FRAME = ("FrameOfReferenceUID", "PositionReferenceIndicator", "PatientPosition")
"""Frame of Reference Module (C.7.4.1), and the patient's position."""

DAYS = ("AcquisitionDate", "SeriesDate", "AcquisitionTime", "SeriesTime")
"""Date and time of the source, by which planning systems sort."""


@dataclass(frozen=True, eq=False)
class Reference:
    """Content of the series that ``--dicom-reference`` names.

    Parameters
    ----------
    headers
        Headers of its image series.
    sets
        Structure sets found with it.
    """

    headers: SeriesHeaders
    sets: tuple[StructureSet, ...] = ()

    @property
    def grid(self) -> Grid:
        """Grid of the series."""
        return self.headers.grid

    @property
    def frame(self) -> str:
        """FrameOfReferenceUID; empty if the series has none."""
        return self.headers.frame

    def text(self, *keywords: str) -> str:
        """Value of the first of these elements that is not empty."""
        found = (self.headers.texts.get(keyword) for keyword in keywords)
        return next((str(value) for value in found if value), "")

    def taken_over(self) -> dict[str, str | list[str]]:
        """Values of the Patient, Study and Frame of Reference Modules, as text."""
        texts = self.headers.texts
        return {name: texts[name] for name in (*PATIENT, *STUDY, *FRAME) if name in texts}


def read_reference(path: Path, series: str = "") -> Reference:
    """Read the headers of the one image series in a DICOM folder or zip, once.

    ``series`` is its SeriesInstanceUID, if known.
    """
    headers, sets = read_reference_series(path, (*PATIENT, *STUDY, *FRAME, *DAYS), series=series)
    return Reference(headers, tuple(sets))


def check_same_place(reference: Reference, path: Path, scan: ScanFacts) -> None:
    """Require that the reference has the scan's frame of reference and contains the scan's centre.

    Its frame of reference is copied to the result: with a reference of another patient or day, the
    synthetic CT would be stored at a wrong position.
    """
    there, here = reference.grid, scan.grid
    index = there.index(np.asarray(here.centre_mm))
    if np.any(index < -0.5) or np.any(index > np.asarray(there.shape) - 0.5):
        raise _elsewhere(
            path, f"its centre is {_mm(there.centre_mm)}, the scan's {_mm(here.centre_mm)} mm"
        )
    if len({reference.frame, scan.frame} - {""}) > 1:
        raise _elsewhere(path, "it has another FrameOfReferenceUID than the scan")


def _elsewhere(reference: Path, problem: str) -> UsageError:
    return UsageError(
        problem,
        rule="the DICOM reference lies where the scan lies: its frame of reference is taken over",
        where=str(reference),
        remedy="give the series that the scan was made from",
        code="reference-elsewhere",
    )


@contextlib.contextmanager
def overlong_values() -> Iterator[None]:
    """Accept values longer than the standard allows, as hospitals use for study IDs."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The value length", category=UserWarning)
        warnings.filterwarnings("ignore", message="Invalid value for VR", category=UserWarning)
        yield


def _mm(point: tuple[float, float, float]) -> str:
    return "(" + ", ".join(f"{value:.0f}" for value in point) + ")"
