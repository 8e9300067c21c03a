"""Items found in the sources: candidate scans, attachments of scans, and others."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from synthct.data.errors import DataError
from synthct.data.readers import Found, ScanFacts, read_scan_and_facts
from synthct.data.volume import Modality, Volume
from synthct.tasks.intake.layout import Named
from synthct.tasks.intake.scrub import redacted_message, secrets_of


@dataclass(frozen=True, eq=False)
class SourceItem:
    """Something in the sources that may be ingested.

    Parameters
    ----------
    found
        Its location and header.
    label
        ``source 1, scan 3``: a name that may be shown and stored.
    identity
        The patient as the source or the manifest names it; only its keyed hash is stored. Empty if
        unknown.
    """

    found: Found
    label: str
    identity: str

    @property
    def place(self) -> str:
        """Where it is, for the person at the terminal; never stored."""
        return f"{self.found.path.name}: {self.found.place}"

    @property
    def secrets(self) -> frozenset[str]:
        """Texts that no message may repeat."""
        return secrets_of(self.found)


@dataclass(frozen=True, eq=False)
class Candidate(SourceItem):
    """A scan that may be ingested; if its patient is unknown, ``unclear`` is the reason.

    Parameters
    ----------
    modality
        From the header, the manifest, the case folder or the file name (then ``guessed``).
    guessed
        Whether the modality was taken from the file name.
    region
        Region of the body; empty if unknown.
    listed
        Whether the manifest names it: it is chosen before other scans of its patient and modality.
    unclear
        Why the patient is unknown.
    session
        Day or session in the names of its folders.
    group
        What else its names have in common with those of the scans that belong to it; empty for
        DICOM.
    bound
        Whether the header names no patient, so that the identity is that of a group of series with
        a common study or frame of reference.
    """

    modality: Modality
    guessed: bool = False
    region: str = ""
    listed: bool = False
    unclear: str = ""
    session: str = ""
    group: str = ""
    bound: bool = False

    @property
    def format(self) -> str:
        """Format of the file or series."""
        return self.found.format

    @property
    def folder(self) -> Path:
        """The smallest folder with all files of a series; the zip or file otherwise."""
        if not self.found.path.is_dir() or self.format != "dicom":
            return self.found.path
        parents = [PurePosixPath(name).parent for name in self.found.files]
        return self.found.path / os.path.commonpath(parents)

    @property
    def day(self) -> str:
        """Date of the study, else the day in the names of the folders; else empty."""
        return str(self.found.header.get("StudyDate", "")).strip() or self.session

    @property
    def birth_date(self) -> str:
        """PatientBirthDate of the header; empty if absent."""
        return str(self.found.header.get("PatientBirthDate", "")).strip()

    @property
    def person(self) -> str:
        """Name and birth date as one text; empty if either is missing."""
        name, born = str(self.found.header.get("PatientName", "")), self.birth_date
        words = sorted(word for word in re.split(r"[\s^=,]+", name.casefold()) if word)
        return f"{' '.join(words)} {born}" if words and born else ""

    def read(self) -> tuple[Volume, ScanFacts]:
        """Read voxels and header facts.

        Raises
        ------
        DataError
            The scan cannot be used, or ``damaged-beside``.
        """
        if self.found.damaged_beside:
            raise DataError(
                "a file in the folder of the series is damaged and may be a slice of it",
                where=self.place,
                remedy="send the series again, or remove the file if it is not part of it",
                code="damaged-beside",
            )
        if self.found.error is not None:
            raise self.found.error
        return read_scan_and_facts(
            self.folder, self.modality, series=self.found.series, require_finite=False
        )


STRUCTURES, DOSE, MASK = "structures", "dose", "mask"


@dataclass(frozen=True, eq=False)
class Attachment(SourceItem):
    """A structure set, dose or body mask that is not yet assigned to a scan.

    Parameters
    ----------
    kind
        ``structures``, ``dose`` or ``mask``.
    listed
        Whether the manifest names it: it is chosen before others.
    drawn_on
        The scan to which the manifest assigns it, if any.
    """

    kind: str
    listed: bool = False
    drawn_on: Modality | None = None

    @property
    def file(self) -> Path:
        """The file itself, or the zip that contains it."""
        found = self.found
        return found.path / found.files[0] if found.path.is_dir() else found.path

    @property
    def series(self) -> str:
        """SeriesInstanceUID, by which it is found in a zip."""
        return self.found.series


@dataclass(frozen=True)
class Skipped:
    """An item that is not ingested, and why: ``label`` may be shown, ``place`` only on request."""

    label: str
    reason: str
    place: str
    path: Path | None = None
    """Path of an image that a manifest could name."""


def skip_reason(row: Found) -> str:
    """Why an item is not a scan, structure set or dose."""
    if row.kind == "broken":
        return redacted_message(row.error, secrets_of(row)) if row.error else "damaged"
    if row.kind == "localizer":
        return "a localizer"
    if row.kind == "capture":
        return "a screen capture or a report"
    kind = str(row.header.get("Modality", ""))
    kind = kind if re.fullmatch(r"[A-Z]{1,9}", kind) else "a file"
    count = f"{len(row.files)} file{'' if len(row.files) == 1 else 's'}"
    return f"{kind} ({count}) is not ingested"


def unnamed_reason(name: Named) -> str:
    """Why an image file cannot be ingested by its names; empty if it can."""
    if name.derived:
        return "a derivative of a BIDS data set: a manifest can include it"
    if name.mask:
        return "a mask or label map: a manifest can include it as MASK (of the body)"
    if name.modality is None:
        return (
            "the modality is unknown: write a manifest with --write-manifest FILE, name the "
            "modality, and give it with --manifest"
        )
    return ""
