"""``dataset.json``: the patients and scans of one raw data set."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import Literal

from pydantic import Field, ValidationError, field_validator

from synthct.data.errors import MachineError, UsageError
from synthct.data.files import canonical_json, write_whole
from synthct.data.section import Section
from synthct.data.volume import Modality
from synthct.tasks.pipeline.artefacts import DATASET

NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"
"""Patients and scans become folder names."""


def _below(path: str) -> str:
    parts = PurePosixPath(path)
    if parts.is_absolute() or ".." in parts.parts or not parts.parts:
        raise ValueError("a path below the data set's folder")
    return path


class Licence(Section):
    """Under which terms the scans may be used."""

    name: str = "not stated"
    url: str = ""
    cite: str = ""
    non_commercial: bool = False

    @classmethod
    def named(cls, name: str | None, cite: str, non_commercial: bool) -> Licence | None:
        """The licence of that name, or None; a citation or a restriction needs a name."""
        if name is not None:
            return cls(name=name, cite=cite, non_commercial=non_commercial)
        if cite or non_commercial:
            raise UsageError(
                "a citation or a restriction belongs to a licence",
                problem="the licence has no name",
                where="licence",
                remedy="name the licence too",
                code="licence-missing",
            )
        return None


class RawScan(Section):
    """One scan of a patient."""

    path: str
    """Below the data set's folder."""
    format: Literal["dicom", "nifti", "metaimage", "nrrd"]
    modality: Modality = Field(strict=False)
    sha256: str
    """:func:`synthct.data.files.content_hash` of the path."""
    origin: str = ""
    """Keyed hash of what it was taken from, so that the same source is taken in once."""
    person: str = ""
    """Keyed hash of name and birth date, so that one person under two numbers is noticed."""
    born: str = ""
    """Keyed hash of patient and birth date, so that two persons under one number are noticed."""

    _path = field_validator("path")(_below)


class RawFile(Section):
    """What lies beside the scans of a patient: masks of structures, a dose, a body mask."""

    path: str
    """Below the data set's folder; a folder of ``NAME.mha`` for structures."""
    sha256: str
    """:func:`synthct.data.files.content_hash` of the path."""
    origin: str = ""
    """Keyed hash of what it was taken from."""

    _path = field_validator("path")(_below)


class RawTruth(Section):
    """What is known of a digital patient, on the grid of one source scan."""

    ct: str
    labels: str
    displacement: str

    _paths = field_validator("ct", "labels", "displacement")(_below)


class RawPatient(Section):
    """One patient."""

    region: str
    scans: dict[str, RawScan] = Field(default_factory=dict)
    truth: dict[str, RawTruth] = Field(default_factory=dict)
    structures: dict[str, RawFile] = Field(default_factory=dict)
    """By the scan on whose grid they lie: a folder with one mask a structure."""
    masks: dict[str, RawFile] = Field(default_factory=dict)
    """Body masks that came with the scans, by scan."""
    dose: RawFile | None = None
    """Planned dose [Gy], on its own grid."""

    def files(self) -> dict[str, RawScan | RawFile]:
        """Everything that lies on disk, by a name for people."""
        beside = {f"structures-{scan}": one for scan, one in self.structures.items()}
        beside |= {f"mask-{scan}": one for scan, one in self.masks.items()}
        dose = {"dose": self.dose} if self.dose else {}
        return {**self.scans, **beside, **dose}


class RawDataset(Section):
    """The whole of ``dataset.json``."""

    format: Literal[1] = 1
    dataset: str
    synthetic: bool = False
    licence: Licence = Licence()
    patients: dict[str, RawPatient] = Field(default_factory=dict)
    key_check: str = ""
    """Tells whether a pseudonym key is the one that the patients' names were made with."""

    @field_validator("patients")
    @classmethod
    def _names(cls, patients: dict[str, RawPatient]) -> dict[str, RawPatient]:
        for name in [*patients, *(scan for one in patients.values() for scan in one.scans)]:
            if not re.match(NAME, name):
                raise ValueError(f"{name!r} is not a name for a patient or scan")
        return patients

    def save(self, folder: Path) -> None:
        """Write ``dataset.json``, whole or not at all."""
        document = self.as_json()
        if not self.key_check:
            del document["key_check"]
        for patient in document["patients"].values():
            for kind in ("structures", "masks", "dose"):  # as before where there are none
                if not patient[kind]:
                    del patient[kind]
        write_whole(folder / DATASET, canonical_json(document))


def load_dataset(folder: Path) -> RawDataset:
    """Read and check the ``dataset.json`` of a raw data set."""
    file = folder / DATASET
    try:
        text = file.read_text()
    except FileNotFoundError as error:
        raise UsageError(
            "a raw data set has a dataset.json",
            where=str(folder),
            got="no such file",
            remedy="run `synthct ingest SRC... --dataset NAME`, or `dvc pull`",
            code="dataset-missing",
        ) from error
    try:
        return RawDataset.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise MachineError(
            "dataset.json is what ingestion wrote",
            where=str(file),
            got=f"{key}: {first['msg']}",
            remedy="take the scans in again",
            code="dataset-invalid",
        ) from error
