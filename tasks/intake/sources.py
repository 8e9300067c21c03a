"""The items of all sources, each with its label and its line of the manifest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from synthct.data.errors import UsageError
from synthct.data.readers import Found, find
from synthct.tasks.intake.manifest import ManifestRow


@dataclass(frozen=True, eq=False)
class Row:
    """An item with its label, source and line of the manifest."""

    found: Found
    label: str
    source: Path
    entry: ManifestRow

    @property
    def path(self) -> Path:
        """The file or folder, without links."""
        return self.found.path.resolve()

    @property
    def nameable(self) -> Path | None:
        """The path that a manifest can name; None for what is no scan."""
        return self.found.path if self.found.kind == "scan" else None


def rows_of(sources: Sequence[Path], manifest: Mapping[Path, ManifestRow]) -> Iterator[Row]:
    """All items of the sources and of paths that only the manifest names, each once."""
    seen: set[tuple[Any, ...]] = set()
    listed = [row.path for row in manifest.values()]
    every = [*sources, *(path for path in listed if not _covered(path, sources))]
    for number, source in enumerate(every, 1):
        if not source.exists():
            raise UsageError(
                "the source does not exist",
                where=str(source),
                remedy="check the path",
                code="no-source",
            )
        found = [row for row in find(source) if _is_new(row, seen)]
        for count, row in enumerate(found, 1):
            kind = "file" if row.kind == "broken" else "scan"
            entry = _manifest_row(first_place(row), manifest)
            yield Row(row, f"source {number}, {kind} {count}", source, entry)


def named_by_folder(rows: Sequence[Row], level: int) -> list[Row]:
    """The rows with the patient that the folder of this level names, unless a manifest names one.

    A scan that lies less deep keeps the patient of its header or name.
    """
    changed, deepest = [], 0
    for row in rows:
        place, source = first_place(row.found), row.source
        inside = place.is_relative_to(source)
        folders = place.relative_to(source).parts[:-1] if inside else ()
        deepest = max(deepest, len(folders))
        if len(folders) >= level and not row.entry.patient:
            entry = replace(row.entry, patient=folders[level - 1])
            changed.append(replace(row, entry=entry))
        else:
            changed.append(row)
    if deepest < level:
        raise UsageError(
            f"no scan lies {level} folders below a source; the deepest lies {deepest} below",
            rule="--patient-from is the level of the folder that names the patient; 1 is the first",
            where="--patient-from",
            remedy="name a lower level, or the patients in a manifest",
            code="no-patient-folder",
        )
    return changed


def _covered(path: Path, sources: Sequence[Path]) -> bool:
    return any(path.resolve().is_relative_to(source.resolve()) for source in sources)


def _is_new(row: Found, seen: set[tuple[Any, ...]]) -> bool:
    first = (row.path / row.files[0]).resolve() if row.files and row.path.is_dir() else row.path
    key = (first.resolve(), row.series, row.place if row.kind == "broken" else "")
    if key in seen:
        return False
    seen.add(key)
    return True


def _manifest_row(path: Path, manifest: Mapping[Path, ManifestRow]) -> ManifestRow:
    resolved = path.resolve()
    for place in (resolved, *resolved.parents):
        if place in manifest:
            return manifest[place]
    return ManifestRow(path)


def first_place(row: Found) -> Path:
    """The path in a manifest: the first file of a series (in a zip, below the zip), or the file."""
    inside = row.format == "dicom" and row.files and not row.path.name.endswith(row.files[0])
    return row.path / row.files[0] if inside else row.path
