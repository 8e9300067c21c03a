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
    """Terms of use of the scans."""

    name: str = "not stated"
    url: str = ""
    cite: str = ""
    non_commercial: bool = False

    @classmethod
    def named(cls, name: str | None, cite: str, non_commercial: bool) -> Licence | None:
        """The licence of that name, or None.

        Raises
        ------
        UsageError
            ``licence-missing``: a citation or a restriction without a name.
        """
        if name is not None:
            return cls(name=name, cite=cite, non_commercial=non_commercial)
        if cite or non_commercial:
            raise UsageError(
                "the licence has no name",
                rule="a citation or a restriction belongs to a licence",
                where="licence",
                remedy="name the licence too",
                code="licence-missing",
            )
        return None


class RawScan(Section):
    """One scan of a patient."""

    path: str
    """Path below the data set's folder."""
    format: Literal["dicom", "nifti", "metaimage", "nrrd"]
    modality: Modality = Field(strict=False)
    sha256: str
    """:func:`synthct.data.files.content_hash` of the path."""
    origin: str = ""
    """Keyed hash of the original, so that the same scan is ingested once."""
    person: str = ""
    """Keyed hash of name and birth date, which finds one person under two patient IDs."""
    born: str = ""
    """Keyed hash of patient and birth date, which finds two persons under one patient ID."""

    _path = field_validator("path")(_below)


class RawFile(Section):
    """An attachment of a patient's scans: masks of structures, a dose, a body mask."""

    path: str
    """Path below the data set's folder; a folder of ``NAME.mha`` for structures."""
    sha256: str
    """:func:`synthct.data.files.content_hash` of the path."""
    origin: str = ""
    """Keyed hash of the original."""

    _path = field_validator("path")(_below)


class RawTruth(Section):
    """Known truth of a digital patient, on the grid of one source scan."""

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
    """By the scan on whose grid they are: a folder with one mask per structure."""
    masks: dict[str, RawFile] = Field(default_factory=dict)
    """Body masks supplied with the scans, by scan."""
    dose: RawFile | None = None
    """Planned dose [Gy], on its own grid."""
    projections: dict[str, RawFile] = Field(default_factory=dict)
    """By cone-beam scan, the folder of the projections it was made from; read by the stage
    ``reconstruction``."""

    def files(self) -> dict[str, RawScan | RawFile]:
        """All files and folders of the patient, by a label."""
        attached = {f"structures-{scan}": one for scan, one in self.structures.items()}
        attached |= {f"mask-{scan}": one for scan, one in self.masks.items()}
        dose = {"dose": self.dose} if self.dose else {}
        return {**self.scans, **attached, **dose}


class RawDataset(Section):
    """The content of ``dataset.json``."""

    format: Literal[1] = 1
    dataset: str
    synthetic: bool = False
    licence: Licence = Licence()
    patients: dict[str, RawPatient] = Field(default_factory=dict)
    key_check: str = ""
    """Check value of the pseudonym key with which the patients were named."""

    @field_validator("patients")
    @classmethod
    def _names(cls, patients: dict[str, RawPatient]) -> dict[str, RawPatient]:
        for name in [*patients, *(scan for one in patients.values() for scan in one.scans)]:
            if not re.match(NAME, name):
                raise ValueError(f"{name!r} is not a name for a patient or scan")
        return patients

    def save(self, folder: Path) -> None:
        """Write ``dataset.json`` atomically."""
        document = self.as_json()
        if not self.key_check:
            del document["key_check"]
        for patient in document["patients"].values():
            for kind in (
                "structures",
                "masks",
                "dose",
                "projections",
            ):  # absent keys stand for none
                if not patient[kind]:
                    del patient[kind]
        write_whole(folder / DATASET, canonical_json(document))


def load_dataset(folder: Path) -> RawDataset:
    """Read and check the ``dataset.json`` of a raw data set.

    Raises
    ------
    UsageError
        ``dataset-missing``.
    MachineError
        ``dataset-invalid``.
    """
    file = folder / DATASET
    try:
        text = file.read_text()
    except FileNotFoundError as error:
        raise UsageError(
            f"the raw data set has no {DATASET}",
            where=str(folder),
            remedy="run `synthct ingest SRC... --dataset NAME`, or `dvc pull`",
            code="dataset-missing",
        ) from error
    try:
        return RawDataset.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise MachineError(
            f"the file is not a valid {DATASET}: {key}: {first['msg']}",
            where=str(file),
            remedy="restore it, or ingest the scans again",
            code="dataset-invalid",
        ) from error
