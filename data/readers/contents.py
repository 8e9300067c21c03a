"""Contents of a source: each series, image file and structure set, and each unreadable file."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset
from pydicom.valuerep import PersonName

from synthct.data.errors import DataError, SynthctError
from synthct.data.readers.checks import as_data_errors
from synthct.data.readers.contours import Outlines as Outlines
from synthct.data.readers.dose import describe_dose
from synthct.data.readers.entries import Entry, entries, walk
from synthct.data.readers.formats import GRIDS, format_by_name
from synthct.data.readers.header_facts import grid_from_json, grid_json, sequence_facts
from synthct.data.readers.ome_zarr import is_ome_zarr
from synthct.data.readers.process.pool import error_from_json
from synthct.data.readers.series import (
    Series,
    group_series,
    is_capture,
    is_localizer,
    read_slices,
)
from synthct.data.readers.slice_header import HEADER_TAGS
from synthct.data.readers.slices import stack
from synthct.data.volume import Grid, Modality, Volume

SCAN, STRUCTURES, DOSE, LOCALIZER, CAPTURE, OTHER, BROKEN = (
    "scan", "structures", "dose", "localizer", "capture", "other", "broken",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Found:
    """One item of a source.

    Parameters
    ----------
    kind
        ``scan``, ``structures``, ``dose``, ``localizer``, ``capture`` (a picture of a screen, such
        as a dose report), ``other`` (DICOM without an image of these kinds) or
        ``broken`` (a damaged file).
    path
        The path for ``read_scan``: folder or zip of a series, or file.
    place
        Path below the source, for messages; may contain names of patients.
    modality
        None where the format does not state it.
    series, study, frame
        UIDs of a DICOM series.
    files
        Its files, named below ``path``.
    header
        Text of the elements in ``HEADER_TAGS`` of the first slice, those that identify the
        patient among them: never store or log it.
    sequence
        Facts of the acquisition (:func:`synthct.data.readers.header_facts.sequence_facts`).
    grid
        None where it forms no volume; ``error`` is the reason.
    damaged_beside
        A damaged file in the same folder: it may have been a slice of this series.
    """

    kind: str
    path: Path
    place: str
    format: str = "dicom"
    modality: Modality | None = None
    series: str = ""
    study: str = ""
    frame: str = ""
    files: tuple[str, ...] = ()
    header: Mapping[str, Any] = field(default_factory=dict, repr=False)
    sequence: Mapping[str, Any] = field(default_factory=dict)
    grid: Grid | None = None
    error: SynthctError | None = None
    damaged_beside: str = ""

    def read(self, modality: Modality | None = None) -> Volume:
        """Its voxels; ``modality`` where the format does not state it, or to read a CT as CBCT."""
        from synthct.data.readers import read_scan

        wanted = modality or (None if self.format == "dicom" else self.modality)
        return read_scan(self.path, wanted, series=self.series, require_finite=False)

    def as_json(self) -> dict[str, Any]:
        """All plain values."""
        problem = self.error
        return {
            **vars(self),
            "path": str(self.path),
            "modality": str(self.modality) if self.modality else None,
            "files": list(self.files),
            "header": dict(self.header),
            "sequence": dict(self.sequence),
            "grid": grid_json(self.grid) if self.grid else None,
            "error": {"kind": type(problem).__name__, **problem.as_json()} if problem else None,
        }

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Found:
        """The row that :meth:`as_json` gave."""
        return cls(
            **{
                **row,
                "path": Path(row["path"]),
                "modality": Modality(row["modality"]) if row["modality"] else None,
                "files": tuple(row["files"]),
                "grid": grid_from_json(row["grid"]) if row["grid"] else None,
                "error": error_from_json(row["error"], row["place"]) if row["error"] else None,
            }
        )


def contents(source: Path) -> list[Found]:
    """Every row of a source, in the order of its file names."""
    if not source.exists():
        raise DataError(
            "there is no such file or folder",
            rule="a source is a file or a folder",
            where=str(source),
            remedy="check the path",
            code="no-file",
        )
    if is_ome_zarr(source):
        return [_image(source, source.name, "ome-zarr")]
    zarrs = _zarrs(source)
    rows = [_image(one, one.relative_to(source).as_posix(), "ome-zarr") for one in zarrs]
    plain: list[Entry] = []
    files, refused = walk(source) if source.is_dir() else ([_single(source)], [])
    rows += [
        Found(BROKEN, path, path.relative_to(source).as_posix(), error=problem)
        for path, problem in refused
    ]
    for entry in files:
        assert entry.path is not None
        if any(entry.path.is_relative_to(folder) for folder in zarrs):
            continue
        if kind := format_by_name(entry.name):
            rows.append(_image(entry.path, entry.name, kind))
        elif zipfile.is_zipfile(entry.path):
            rows += _zip(entry)
        else:
            plain.append(entry)
    return [*rows, *_dicom(source, plain, "")]


def _zarrs(source: Path) -> list[Path]:
    """The outermost OME-Zarr groups: their levels and labels belong to them."""
    found: list[Path] = []
    for folder in sorted(source.rglob("*")) if source.is_dir() else []:
        nested = found and folder.is_relative_to(found[-1])
        if not nested and folder.is_dir() and is_ome_zarr(folder):
            found.append(folder)
    return found


def _single(source: Path) -> Entry:
    return Entry(source.name, lambda: source.open("rb"), source)


def _zip(entry: Entry) -> list[Found]:
    assert entry.path is not None
    try:
        with as_data_errors(str(entry.path)):
            inside = entries(entry.path)
            packed = [_packed(entry.path, one, entry.name) for one in inside if _is_packed(one)]
            return [*packed, *_dicom(entry.path, inside, f"{entry.name}/")]
    except DataError as error:
        return [Found(BROKEN, entry.path, entry.name, error=error)]


def _is_packed(entry: Entry) -> bool:
    """Whether it is an image file or a zip inside a zip, which is reported and not read."""
    name = entry.name.rpartition("/")[2]
    wanted = format_by_name(name) is not None or name.lower().endswith(".zip")
    return wanted and not name.startswith("._")


def _packed(source: Path, entry: Entry, outer: str) -> Found:
    problem = DataError(
        "a zip holds an image file or another zip",
        where=f"{outer}/{entry.name}",
        rule="a zip holds DICOM files",
        remedy="unpack the zip and give the folder",
        code="packed-twice",
    )
    return Found(BROKEN, source, f"{outer}/{entry.name}", error=problem)


def _image(path: Path, place: str, kind: str) -> Found:
    grid, problem = None, None
    try:
        with as_data_errors(str(path)):
            grid = GRIDS[kind](path)
    except DataError as error:
        problem = error
    return Found(SCAN, path, place, kind, files=(path.name,), grid=grid, error=problem)


def _dicom(source: Path, files: Sequence[Entry], before: str) -> list[Found]:
    slices, broken = read_slices(files)
    rows = [
        Found(BROKEN, one.entry.path or source, before + one.entry.name, error=one.error)
        for one in broken
    ]
    beside = {one.entry.name.rpartition("/")[0]: one.entry.name for one in broken}
    for series in group_series(slices):
        rows.append(_series(source, series, before, beside))
    return rows


def _series(source: Path, series: Series, before: str, beside: Mapping[str, str]) -> Found:
    kind, grid, problem = _kind(series), None, None
    try:
        with as_data_errors(str(source)):
            if kind == SCAN:
                grid = stack(series, str(source)).grid
            elif kind == DOSE:
                grid = describe_dose(series)
    except DataError as error:
        problem = error
    header = series.first
    folders = {one.entry.name.rpartition("/")[0] for one in series.slices}
    return Found(
        kind,
        # A lone file is given by itself: its folder may hold other series' files.
        source,
        (before + series.folder).rstrip("/") or source.name,
        modality=series.modality,
        series=series.uid,
        study=str(header.get("StudyInstanceUID", "")),
        frame=str(header.get("FrameOfReferenceUID", "")),
        files=tuple(dict.fromkeys(one.entry.name for one in series.slices)),
        header=_texts(header),
        sequence=sequence_facts(header),
        grid=grid,
        error=problem,
        damaged_beside=next((beside[one] for one in sorted(folders) if one in beside), ""),
    )


def _kind(series: Series) -> str:
    header = series.first
    if series.modality is Modality.DOSE:
        return DOSE
    if str(header.get("Modality", "")).upper() == "RTSTRUCT":
        return STRUCTURES
    if series.modality is None or "Rows" not in header:
        return OTHER
    if is_localizer(header):
        return LOCALIZER
    return CAPTURE if is_capture(header) else SCAN


def _texts(header: Dataset) -> dict[str, Any]:
    texts: dict[str, Any] = {}
    for keyword in HEADER_TAGS:
        value = header.get(keyword)
        if value is None:
            continue
        single = isinstance(value, str | PersonName) or not hasattr(value, "__iter__")
        texts[keyword] = str(value) if single else [str(part) for part in value]
    return texts
