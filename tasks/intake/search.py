"""What lies in the sources: DICOM series and image files, and whose they are."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

from synthct.data.errors import DataError, SynthctError, UsageError
from synthct.data.readers import Found, ScanFacts, find, read_scan_and_facts
from synthct.data.readers.synthrad import CaseFolder, case_folders
from synthct.data.volume import Modality, Volume
from synthct.tasks.intake.attachment_files import DOSE, MASK, STRUCTURES, Extra
from synthct.tasks.intake.manifest import ManifestRow
from synthct.tasks.intake.scrub import hidden, secrets_of

_MASK_WORDS = frozenset(
    {"mask", "masks", "seg", "segmentation", "segmentations", "label", "labels", "gtv", "ctv",
     "ptv", "roi", "body", "landmarks"}
)  # fmt: skip
_MR_WORDS = frozenset({"mr", "mri", "mrt", "t1", "t2", "t1w", "t2w", "flair"})

_NO_MAGNITUDE = frozenset({"P", "PHASE", "PHASE MAP", "R", "REAL", "I", "IMAGINARY"})
"""Kinds of MR images that hold no anatomy to learn from (DICOM PS3.3 C.8.3.1.1.1)."""

_REGIONS = {
    "head-neck": ("HEAD", "NECK", "HEADNECK", "BRAIN", "SKULL", "CSPINE"),
    "thorax": ("CHEST", "THORAX", "LUNG", "HEART", "BREAST", "TSPINE"),
    "abdomen": ("ABDOMEN", "ABDOMENPELVIS", "LIVER", "PANCREAS", "KIDNEY"),
}
"""Regions by BodyPartExamined."""


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
        Whose it is, as the source says it; only its keyed hash is stored.
    modality
        From the header, the manifest, the case folder or the file name (then ``guessed``).
    listed
        Named by the manifest: chosen before other scans of its patient and modality.
    """

    found: Found
    label: str
    identity: str
    modality: Modality
    guessed: bool = False
    region: str = ""
    listed: bool = False

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


@dataclass(frozen=True)
class Passed:
    """Something that is not taken in, and why: ``label`` may be shown, ``place`` only at will."""

    label: str
    reason: str
    place: str


@dataclass
class Search:
    """Everything found, and what was passed over with the reason."""

    candidates: list[Candidate] = field(default_factory=list)
    extras: list[Extra] = field(default_factory=list)
    passed_over: list[Passed] = field(default_factory=list)


def search(sources: Sequence[Path], manifest: Mapping[Path, ManifestRow]) -> Search:
    """Walk the sources (and the manifest's paths) and tell scans from everything else."""
    result = Search()
    seen: set[tuple[Any, ...]] = set()
    listed = [row.path for row in manifest.values()]
    every = [*sources, *(path for path in listed if not _covered(path, sources))]
    for number, source in enumerate(every, 1):
        if not source.exists():
            raise UsageError(
                "every source exists", where=str(source), remedy="check the path", code="no-source"
            )
        rows = [row for row in find(source) if _is_new(row, seen)]
        _sort(rows, source, f"source {number}", manifest, result)
    return result


def _covered(path: Path, sources: Sequence[Path]) -> bool:
    return any(path.resolve().is_relative_to(source.resolve()) for source in sources)


def _is_new(row: Found, seen: set[tuple[Any, ...]]) -> bool:
    first = (row.path / row.files[0]).resolve() if row.files and row.path.is_dir() else row.path
    key = (first.resolve(), row.series, row.place if row.kind == "broken" else "")
    if key in seen:
        return False
    seen.add(key)
    return True


def _sort(
    rows: Sequence[Found],
    source: Path,
    name: str,
    manifest: Mapping[Path, ManifestRow],
    result: Search,
) -> None:
    cases = {
        path.resolve(): case
        for case in case_folders(source)
        for path in (*case.scans.values(), *([case.mask] if case.mask else []))
    }
    series = [row for row in rows if row.kind == "scan" and row.format == "dicom"]
    for number, row in enumerate(rows, 1):
        label = f"{name}, {'file' if row.kind == 'broken' else 'scan'} {number}"
        outcome = _judge(row, label, series, manifest, cases)
        if isinstance(outcome, Candidate):
            result.candidates.append(outcome)
        elif isinstance(outcome, Extra):
            result.extras.append(outcome)
        else:
            result.passed_over.append(Passed(label, outcome, row.place))


def _judge(
    row: Found,
    label: str,
    series: Sequence[Found],
    manifest: Mapping[Path, ManifestRow],
    cases: Mapping[Path, CaseFolder],
) -> Candidate | Extra | str:
    """A scan, what lies beside scans, or why it is neither."""
    if row.kind in (STRUCTURES, DOSE):
        said = _said(_first_file(row), manifest)
        return Extra(row, label, row.kind, said.patient or dicom_identity(row), said.listed)
    if row.kind != "scan":
        return _why_not(row)
    if row.format == "dicom":
        return _from_series(row, label, _said(_first_file(row), manifest))
    return _from_file(row, label, series, _said(row.path, manifest), cases.get(row.path.resolve()))


def _why_not(row: Found) -> str:
    if row.kind == "broken":
        fault: SynthctError | None = row.fault
        return hidden(fault.what if fault else "damaged", secrets_of(row))
    if row.kind == "localizer":
        return "a localizer"
    kind = str(row.header.get("Modality", ""))
    kind = kind if re.fullmatch(r"[A-Z]{1,9}", kind) else "a file"
    count = f"{len(row.files)} file{'' if len(row.files) == 1 else 's'}"
    return f"{kind} ({count}) is not taken in"


def _first_file(row: Found) -> Path:
    return row.path / row.files[0] if row.path.is_dir() and row.files else row.path


def _from_series(row: Found, label: str, said: ManifestRow) -> Candidate | str:
    modality = said.modality or row.modality
    if modality is None:
        return "neither CT nor MR"
    kinds = {str(part).upper() for part in list(row.header.get("ImageType") or ())[2:]}
    if modality is Modality.MR and kinds & _NO_MAGNITUDE and not said.listed:
        return "a phase, real or imaginary image, not a magnitude"
    part = str(row.header.get("BodyPartExamined", "")).upper()
    by_part = next((region for region, parts in _REGIONS.items() if part in parts), "")
    return Candidate(
        row,
        label,
        said.patient or dicom_identity(row),
        modality,
        region=said.region or by_part,
        listed=said.listed,
    )


def dicom_identity(row: Found) -> str:
    """Patient ID, else name, else study: whatever says whose scan it is."""
    for keyword in ("PatientID", "PatientName", "StudyInstanceUID"):
        text = str(row.header.get(keyword) or "").strip()
        if text:
            return text
    return row.series


def _from_file(
    row: Found, label: str, series: Sequence[Found], said: ManifestRow, case: CaseFolder | None
) -> Candidate | Extra | str:
    modality, reason = said.modality, ""
    is_mask = case is not None and case.mask is not None and row.path.samefile(case.mask)
    if modality is Modality.MASK or (is_mask and modality is None):
        identity = said.patient or _folder_identity(row, series)
        return Extra(row, label, MASK, identity, said.listed)
    if modality is None and case is not None:
        names = {path.resolve(): name for name, path in case.scans.items()}
        modality = Modality(names[row.path.resolve()].upper())
    if modality is None:
        modality, reason = modality_by_name(row.path.name)
    if modality is None:
        return reason
    region = said.region or (case.region if case else "") or ""
    identity = said.patient or _folder_identity(row, series)
    guessed = said.modality is None
    return Candidate(replace(row, modality=modality), label, identity, modality, guessed, region,
                     said.listed)  # fmt: skip


def modality_by_name(name: str) -> tuple[Modality | None, str]:
    """CT or MR by a word of the file name (checked against the voxels later), else the reason."""
    words = set(re.split(r"[^a-z0-9]+", name.lower()))
    if words & _MASK_WORDS:
        return None, "a mask or label map: a manifest can name it as MASK (of the body)"
    if "cbct" in words:
        return None, "a file name cannot say CBCT: name it in a manifest (--manifest)"
    if "ct" in words and not words & _MR_WORDS:
        return Modality.CT, ""
    if words & _MR_WORDS and "ct" not in words:
        return Modality.MR, ""
    return None, "the modality is not known: name it in a manifest (--manifest)"


def _folder_identity(row: Found, series: Sequence[Found]) -> str:
    """The one DICOM patient below the file's folder, else the folder's own name."""
    folder = row.path.resolve().parent
    near = {
        dicom_identity(one)
        for one in series
        if one.path.is_dir() and _first_file(one).resolve().is_relative_to(folder)
    }
    return near.pop() if len(near) == 1 else folder.name


def _said(path: Path, manifest: Mapping[Path, ManifestRow]) -> ManifestRow:
    resolved = path.resolve()
    for place in (resolved, *resolved.parents):
        if place in manifest:
            return manifest[place]
    return ManifestRow(path)


def listed_places(found: Search) -> Iterator[tuple[str, str]]:
    """(label, place) of everything: for the person at the terminal."""
    scans: list[Candidate | Extra] = [*found.candidates, *found.extras]
    for one in scans:
        yield one.label, one.place
    for passed in found.passed_over:
        yield passed.label, passed.place
