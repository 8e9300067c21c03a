"""What lies in the sources: DICOM series and image files, and whose they are."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from data.faults import DataFault, UsageFault
from data.readers import format_of, read_scan
from data.readers.dicom import read_series
from data.readers.entries import Entry, entries
from data.readers.faults_only import faults_only
from data.readers.series import Series, Slice, group_series, image_series, read_slice
from data.volume import Modality, Volume
from tasks.ingestion.intake.manifest import ManifestRow

IMAGE_SUFFIXES = (".nii", ".nii.gz", ".mha", ".nrrd")

_MASK_WORDS = frozenset(
    {"mask", "masks", "seg", "segmentation", "segmentations", "label", "labels", "gtv", "ctv",
     "ptv", "roi", "body", "landmarks"}
)  # fmt: skip
_MR_WORDS = frozenset({"mr", "mri", "mrt", "t1", "t2", "t1w", "t2w", "flair"})


@dataclass(frozen=True, eq=False)
class Candidate:
    """A scan that may be taken in.

    Parameters
    ----------
    place
        Where it is, for the person who gave the source; never stored.
    identity
        Whose it is, as the source says it; only its keyed hash is stored.
    modality
        From the header, the manifest or the file name (then ``guessed``); None: unknown.
    series
        The slices, for DICOM.
    path
        The file, for the other formats.
    damaged_beside
        A damaged file in the folder of the slices: it may be one of them, so the series is refused.
    listed
        Named by the manifest: chosen before other scans of its patient and modality.
    """

    place: str
    identity: str
    format: str
    modality: Modality | None
    guessed: bool = False
    region: str = ""
    series: Series | None = None
    path: Path | None = None
    damaged_beside: str = ""
    listed: bool = False

    def read(self) -> Volume:
        """The voxels; raises a fault when they are unfit."""
        if self.damaged_beside:
            raise DataFault(
                "the files beside a series are whole: a damaged one may be a slice of it",
                where=self.place,
                got=self.damaged_beside,
                remedy="send the series again, or remove the file if it is no part of it",
                code="damaged-beside",
            )
        if self.series is not None:
            with faults_only(self.place):
                return read_series(self.series, self.place, self.modality)
        assert self.path is not None
        return read_scan(self.path, self.modality, require_finite=False)


@dataclass
class Search:
    """Everything found, and what was passed over with the reason."""

    candidates: list[Candidate] = field(default_factory=list)
    passed_over: list[str] = field(default_factory=list)


def search(sources: Sequence[Path], manifest: Mapping[Path, ManifestRow]) -> Search:
    """Walk the sources (and the manifest's paths) and tell scans from everything else."""
    found = Search()
    seen: set[Path] = set()
    listed = [row.path for row in manifest.values()]
    for source in [*sources, *(path for path in listed if not _covered(path, sources))]:
        if not source.exists():
            raise UsageFault(
                "every source exists", where=str(source), remedy="check the path", code="no-source"
            )
        _search_one(source, manifest, found, seen)
    return found


def _covered(path: Path, sources: Sequence[Path]) -> bool:
    return any(path.resolve().is_relative_to(source.resolve()) for source in sources)


def _search_one(
    source: Path, manifest: Mapping[Path, ManifestRow], found: Search, seen: set[Path]
) -> None:
    files = []
    for entry in entries(source) if source.is_dir() else [_plain(source)]:
        assert entry.path is not None
        resolved = entry.path.resolve()
        if resolved not in seen:
            seen.add(resolved)
            files.append(entry)
    images = [entry for entry in files if entry.name.lower().endswith(IMAGE_SUFFIXES)]
    zips = [entry for entry in files if entry.name.lower().endswith(".zip") and _is_zip(entry)]
    rest = [entry for entry in files if entry not in images and entry not in zips]
    series = list(_series(source, rest, manifest, found))
    for packed in zips:
        assert packed.path is not None
        series += _series(packed.path, entries(packed.path), manifest, found)
    found.candidates += series
    for image in images:
        _image(source, image, series, manifest, found)


def _plain(source: Path) -> Entry:
    return Entry(source.name, lambda: source.open("rb"), source)


def _is_zip(entry: Entry) -> bool:
    return entry.path is not None and zipfile.is_zipfile(entry.path)


def _series(
    source: Path,
    files: Sequence[Entry],
    manifest: Mapping[Path, ManifestRow],
    found: Search,
) -> Iterator[Candidate]:
    slices, broken = _slices(files, found)
    every = group_series(slices)
    images = image_series(every)
    for series in every:
        where = f"{source.name}/{series.folder}".rstrip("/")
        if series not in images:
            kind, count = series.first.get("Modality", "?"), len(series.slices)
            found.passed_over.append(f"{where}: {kind} ({count} files) is not taken in yet")
        elif "LOCALIZER" in [str(part) for part in (series.first.get("ImageType") or [])]:
            found.passed_over.append(f"{where}: a localizer")
        else:
            said = _said(series.slices[0].entry.path or source, manifest)
            yield _from_series(series, where, said, broken)


def _from_series(
    series: Series, where: str, said: ManifestRow, broken: Mapping[str, str]
) -> Candidate:
    beside = [broken[folder] for folder in _folders(series) if folder in broken]
    return Candidate(
        place=where,
        identity=said.patient or dicom_identity(series),
        format="dicom",
        modality=said.modality or series.modality,
        region=said.region,
        series=series,
        damaged_beside=beside[0] if beside else "",
        listed=said.listed,
    )


def _folders(series: Series) -> list[str]:
    return sorted({one.entry.name.rpartition("/")[0] for one in series.slices})


def _slices(files: Sequence[Entry], found: Search) -> tuple[list[Slice], dict[str, str]]:
    """The DICOM files, and a damaged file's name by the folder in which there is one."""
    slices: list[Slice] = []
    broken: dict[str, str] = {}
    for entry in files:
        try:
            one = read_slice(entry)
        except DataFault as fault:
            found.passed_over.append(str(fault))
            broken[entry.name.rpartition("/")[0]] = entry.name.rpartition("/")[2]
            continue
        if one is not None:
            slices.append(one)
    return slices, broken


def dicom_identity(series: Series) -> str:
    """Patient ID, else name, else study: whatever says whose scan it is."""
    for keyword in ("PatientID", "PatientName", "StudyInstanceUID"):
        text = str(series.first.get(keyword) or "").strip()
        if text:
            return text
    return series.uid


def _image(
    source: Path,
    entry: Entry,
    series: Sequence[Candidate],
    manifest: Mapping[Path, ManifestRow],
    found: Search,
) -> None:
    assert entry.path is not None
    said = _said(entry.path, manifest)
    modality, reason = said.modality, ""
    if modality is None:
        modality, reason = modality_by_name(entry.path.name)
    place = f"{source.name}/{entry.name}" if source.is_dir() else entry.name
    if modality is None:
        found.passed_over.append(f"{place}: {reason}")
        return
    found.candidates.append(
        Candidate(
            place=place,
            identity=said.patient or _folder_identity(entry, series),
            format=format_of(entry.path),
            modality=modality,
            guessed=said.modality is None,
            region=said.region,
            path=entry.path,
            listed=said.listed,
        )
    )


def modality_by_name(name: str) -> tuple[Modality | None, str]:
    """CT or MR by a word of the file name (checked against the voxels later), else the reason."""
    words = set(re.split(r"[^a-z0-9]+", name.lower()))
    if words & _MASK_WORDS:
        return None, "a mask or label map is not taken in yet"
    if "cbct" in words:
        return None, "a file name cannot say CBCT: name it in a manifest (--manifest)"
    if "ct" in words and not words & _MR_WORDS:
        return Modality.CT, ""
    if words & _MR_WORDS and "ct" not in words:
        return Modality.MR, ""
    return None, "the modality is not known: name it in a manifest (--manifest)"


def _folder_identity(entry: Entry, series: Sequence[Candidate]) -> str:
    """The one DICOM patient below the file's folder, else the folder's own name."""
    assert entry.path is not None
    folder = entry.path.resolve().parent
    near = {
        one.identity
        for one in series
        if one.series is not None
        and (path := one.series.slices[0].entry.path) is not None
        and path.resolve().is_relative_to(folder)
    }
    return near.pop() if len(near) == 1 else folder.name


def _said(path: Path, manifest: Mapping[Path, ManifestRow]) -> ManifestRow:
    resolved = path.resolve()
    for place in (resolved, *resolved.parents):
        if place in manifest:
            return manifest[place]
    return ManifestRow(path)
