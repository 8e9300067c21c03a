"""The DICOM series that a synthetic CT is filed beside: its patient, study and frame."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from synthct.data.errors import UsageError
from synthct.data.readers import ScanFacts, SeriesHeaders, StructureSet, read_beside
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

DAYS = ("AcquisitionDate", "SeriesDate", "AcquisitionTime", "SeriesTime")
"""When the source was made: a planning system sorts by it."""


@dataclass(frozen=True, eq=False)
class Reference:
    """What ``--dicom-reference`` names.

    Parameters
    ----------
    headers
        Of its image series.
    sets
        Structure sets that lie with it.
    """

    headers: SeriesHeaders
    sets: tuple[StructureSet, ...] = ()

    @property
    def grid(self) -> Grid:
        """Where the series lies."""
        return self.headers.grid

    @property
    def frame(self) -> str:
        """FrameOfReferenceUID; empty where the series has none."""
        return self.headers.frame

    def text(self, *keywords: str) -> str:
        """The first of these elements that says something."""
        found = (self.headers.texts.get(keyword) for keyword in keywords)
        return next((str(value) for value in found if value), "")

    def taken_over(self) -> dict[str, str | list[str]]:
        """Values of the Patient, Study and Frame of Reference Modules, as text."""
        texts = self.headers.texts
        return {name: texts[name] for name in (*PATIENT, *STUDY, *FRAME) if name in texts}


def read_reference(path: Path, series: str = "") -> Reference:
    """Read the headers of the one image series in a DICOM folder or zip, once.

    ``series`` is its SeriesInstanceUID, where that is known.
    """
    headers, sets = read_beside(path, (*PATIENT, *STUDY, *FRAME, *DAYS), series=series)
    return Reference(headers, tuple(sets))


def check_same_place(reference: Reference, path: Path, scan: ScanFacts) -> None:
    """The reference must share the scan's frame and its box must hold the scan's centre.

    Its frame of reference is taken over: a reference of another patient or another day would
    file the synthetic CT where it is not.
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
    """Hospitals file longer study IDs than the standard allows; they are taken over as they are."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The value length", category=UserWarning)
        warnings.filterwarnings("ignore", message="Invalid value for VR", category=UserWarning)
        yield


def _mm(point: tuple[float, float, float]) -> str:
    return "(" + ", ".join(f"{value:.0f}" for value in point) + ")"
