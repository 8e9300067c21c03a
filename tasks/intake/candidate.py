"""A scan that may be taken in: where it is, whose, and what its header says."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from synthct.data.errors import DataError
from synthct.data.readers import Found, ScanFacts, read_scan_and_facts
from synthct.data.volume import Modality, Volume
from synthct.tasks.intake.scrub import secrets_of


@dataclass(frozen=True, eq=False)
class Candidate:
    """A scan that may be taken in.

    Parameters
    ----------
    found
        Where it is and what its header says.
    label
        ``source 1, scan 3``: what may be shown and stored.
    identity
        Whose it is, as the source says it; only its keyed hash is stored. Empty where ``unclear``
        says why it is not known.
    modality
        From the header, the manifest, the case folder or the file name (then ``guessed``).
    listed
        Named by the manifest: chosen before other scans of its patient and modality.
    session
        Day or session that the names of its folders tell.
    bound
        The header names nobody: the identity was made from what binds series together.
    """

    found: Found
    label: str
    identity: str
    modality: Modality
    guessed: bool = False
    region: str = ""
    listed: bool = False
    unclear: str = ""
    session: str = ""
    bound: bool = False

    @property
    def place(self) -> str:
        """Where it is, for the person at the terminal; never stored."""
        return f"{self.found.path.name}: {self.found.place}"

    @property
    def format(self) -> str:
        """Format of the file or series."""
        return self.found.format

    @property
    def secrets(self) -> frozenset[str]:
        """Texts that no message may repeat."""
        return secrets_of(self.found)

    @property
    def folder(self) -> Path:
        """The smallest folder that holds all files of a series; the zip or file otherwise."""
        if not self.found.path.is_dir() or self.format != "dicom":
            return self.found.path
        parents = [PurePosixPath(name).parent for name in self.found.files]
        return self.found.path / os.path.commonpath(parents)

    @property
    def day(self) -> str:
        """Of the study, else what the folders' names say; empty where neither does."""
        return str(self.found.header.get("StudyDate", "")).strip() or self.session

    @property
    def birth_date(self) -> str:
        """As the header says it; empty where it does not."""
        return str(self.found.header.get("PatientBirthDate", "")).strip()

    @property
    def person(self) -> str:
        """Name and birth date as one text; empty where either is missing."""
        name, born = str(self.found.header.get("PatientName", "")), self.birth_date
        words = sorted(word for word in re.split(r"[\s^=,]+", name.casefold()) if word)
        return f"{' '.join(words)} {born}" if words and born else ""

    def read(self) -> tuple[Volume, ScanFacts]:
        """The voxels; raises a fault when they are unfit."""
        if self.found.damaged_beside:
            raise DataError(
                "the files beside a series are whole: a damaged one may be a slice of it",
                where=self.place,
                got="a damaged file in its folder",
                remedy="send the series again, or remove the file if it is no part of it",
                code="damaged-beside",
            )
        if self.found.fault is not None:
            raise self.found.fault
        return read_scan_and_facts(
            self.folder, self.modality, series=self.found.series, require_finite=False
        )
