"""What lies in the sources: DICOM series and image files, and whose they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from synthct.data.errors import UsageError
from synthct.data.readers import Found, find
from synthct.data.readers.process import call
from synthct.data.readers.synthrad import CaseFolder, case_folders, channel_names
from synthct.data.volume import Modality
from synthct.tasks.intake.attachment_files import DOSE, MASK, STRUCTURES, Extra
from synthct.tasks.intake.candidate import Candidate
from synthct.tasks.intake.layout import Named, named_files
from synthct.tasks.intake.manifest import ManifestRow
from synthct.tasks.intake.passed import Passed, unknown, why_not
from synthct.tasks.intake.whose import Whose, alone, key_of, whose_series

_NO_MAGNITUDE = frozenset({"P", "PHASE", "PHASE MAP", "R", "REAL", "I", "IMAGINARY"})
"""Kinds of MR images that hold no anatomy to learn from (DICOM PS3.3 C.8.3.1.1.1)."""

_REGIONS = {
    "head-neck": ("HEAD", "NECK", "HEADNECK", "BRAIN", "SKULL", "CSPINE"),
    "thorax": ("CHEST", "THORAX", "LUNG", "HEART", "BREAST", "TSPINE"),
    "abdomen": ("ABDOMEN", "ABDOMENPELVIS", "LIVER", "PANCREAS", "KIDNEY"),
}
"""Regions by BodyPartExamined."""

SYNTHRAD = "SynthRAD"

NOBODY = "the patient's number names nobody, and nothing binds a CT to its source"


@dataclass
class Search:
    """Everything found, what was passed over with the reason, and how the files are ordered."""

    candidates: list[Candidate] = field(default_factory=list)
    extras: list[Extra] = field(default_factory=list)
    passed_over: list[Passed] = field(default_factory=list)
    layouts: list[str] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class _Row:
    """A find with its label and source."""

    found: Found
    label: str
    source: Path
    said: ManifestRow

    @property
    def path(self) -> Path:
        return self.found.path.resolve()

    @property
    def nameable(self) -> Path | None:
        return self.found.path if self.found.kind == "scan" else None


@dataclass(frozen=True)
class _Known:
    """What is known of all finds together."""

    whose: Mapping[tuple[str, str], Whose]
    unbound: set[str]
    named: Mapping[Path, Named]
    cases: Mapping[Path, CaseFolder]
    series: Sequence[Found]

    def of_series(self, row: Found) -> tuple[str, str]:
        """Identity of a DICOM row, or an empty one and the reason."""
        one = self.whose[key_of(row)]
        return ("", NOBODY) if not one.text or one.text in self.unbound else (one.text, "")


def search(sources: Sequence[Path], manifest: Mapping[Path, ManifestRow]) -> Search:
    """Walk the sources (and the manifest's paths) and tell scans from everything else."""
    rows = list(_rows(sources, manifest))
    known = _look(rows)
    result = Search()
    for row in rows:
        outcome = _judge(row, known)
        if isinstance(outcome, Candidate):
            result.candidates.append(outcome)
        elif isinstance(outcome, Extra):
            result.extras.append(outcome)
        else:
            result.passed_over.append(Passed(row.label, outcome, row.found.place, row.nameable))
    result.layouts = _layouts(rows, known)
    return result


def _rows(sources: Sequence[Path], manifest: Mapping[Path, ManifestRow]) -> Iterator[_Row]:
    seen: set[tuple[Any, ...]] = set()
    listed = [row.path for row in manifest.values()]
    every = [*sources, *(path for path in listed if not _covered(path, sources))]
    for number, source in enumerate(every, 1):
        if not source.exists():
            raise UsageError(
                "every source exists", where=str(source), remedy="check the path", code="no-source"
            )
        found = [row for row in find(source) if _is_new(row, seen)]
        for count, row in enumerate(found, 1):
            kind = "file" if row.kind == "broken" else "scan"
            said = _said(first_place(row), manifest)
            yield _Row(row, f"source {number}, {kind} {count}", source, said)


def _covered(path: Path, sources: Sequence[Path]) -> bool:
    return any(path.resolve().is_relative_to(source.resolve()) for source in sources)


def _is_new(row: Found, seen: set[tuple[Any, ...]]) -> bool:
    first = (row.path / row.files[0]).resolve() if row.files and row.path.is_dir() else row.path
    key = (first.resolve(), row.series, row.place if row.kind == "broken" else "")
    if key in seen:
        return False
    seen.add(key)
    return True


def _look(rows: Sequence[_Row]) -> _Known:
    """Whose everything is: told by all that was found together, not row by row."""
    dicom = [row.found for row in rows if _is_dicom(row.found)]
    scans = [row for row in dicom if row.kind == "scan"]
    open_rows = {key_of(row.found) for row in rows if not row.said.patient}
    whose = whose_series(dicom)
    files = [row for row in rows if row.found.kind == "scan" and row.found.format != "dicom"]
    unsaid = {row.path: _root(row.source) for row in files if not row.said.patient}
    cases = {
        path.resolve(): case
        for source in {row.source for row in rows}
        for case in case_folders(source)
        for path in (*case.scans.values(), *([case.mask] if case.mask else []))
    }
    return _Known(
        whose,
        alone(whose, [row for row in scans if key_of(row) in open_rows]),
        named_files(unsaid, _channels(unsaid)),
        cases,
        scans,
    )


def _is_dicom(row: Found) -> bool:
    return row.format == "dicom" and row.kind in ("scan", STRUCTURES, DOSE)


def _root(source: Path) -> Path:
    resolved = source.resolve()
    return resolved if resolved.is_dir() and resolved.suffix != ".zarr" else resolved.parent


def _channels(files: Mapping[Path, Path]) -> dict[Path, Mapping[str, str]]:
    """By the folder of an nnU-Net data set what its ``dataset.json`` calls the channels."""
    folders = {path.parent.parent for path in files if path.parent.name.startswith("images")}
    told = {folder: folder / "dataset.json" for folder in folders}
    return {
        folder: call(channel_names, reads=[file], path=file)
        for folder, file in told.items()
        if file.is_file()
    }


def _judge(row: _Row, known: _Known) -> Candidate | Extra | str:
    """A scan, what lies beside scans, or why it is neither."""
    found, said = row.found, row.said
    if found.kind in (STRUCTURES, DOSE):
        identity = said.patient or known.of_series(found)[0] or found.series
        return Extra(found, row.label, found.kind, identity, said.listed, said.modality)
    if found.kind != "scan":
        return why_not(found)
    return _from_series(row, known) if found.format == "dicom" else _from_file(row, known)


def _first_file(row: Found) -> Path:
    return row.path / row.files[0] if row.path.is_dir() and row.files else row.path


def first_place(row: Found) -> Path:
    """What a manifest names: the first file of a series (in a zip, below the zip), or the file."""
    inside = row.format == "dicom" and row.files and not row.path.name.endswith(row.files[0])
    return row.path / row.files[0] if inside else row.path


def _from_series(row: _Row, known: _Known) -> Candidate | str:
    found, said = row.found, row.said
    modality = said.modality or found.modality
    if modality is None:
        return "neither CT nor MR"
    kinds = {str(part).upper() for part in list(found.header.get("ImageType") or ())[2:]}
    if modality is Modality.MR and kinds & _NO_MAGNITUDE and not said.listed:
        return "a phase, real or imaginary image, not a magnitude"
    part = str(found.header.get("BodyPartExamined", "")).upper()
    by_part = next((region for region, parts in _REGIONS.items() if part in parts), "")
    identity, unclear = (said.patient, "") if said.patient else known.of_series(found)
    bound = not said.patient and known.whose[key_of(found)].bound
    return Candidate(found, row.label, identity, modality, region=said.region or by_part,
                     listed=said.listed, unclear=unclear, bound=bound)  # fmt: skip


def _from_file(row: _Row, known: _Known) -> Candidate | Extra | str:
    said, case = row.said, known.cases.get(row.path)
    name = known.named.get(row.path) or named_files({row.path: _root(row.source)}, {})[row.path]
    is_mask = case is not None and case.mask is not None and row.path.samefile(case.mask)
    identity, unclear = _identity_of(row, name, known)
    if said.modality is Modality.MASK or (is_mask and said.modality is None):
        return Extra(row.found, row.label, MASK, identity or row.label, said.listed)
    modality = said.modality or (None if name.mask else name.modality)
    reason = unknown(name) if said.modality is None else ""
    if modality is Modality.CBCT and said.modality is None and not _has_ct(name, known):
        reason = "a file name cannot say CBCT where no CT goes with it: name it in a manifest"
    if reason or modality is None:
        return reason
    region = said.region or (case.region if case else "") or ""
    return Candidate(replace(row.found, modality=modality), row.label, identity, modality,
                     guessed=said.modality is None, region=region, listed=said.listed,
                     unclear=unclear, session=name.day)  # fmt: skip


def _has_ct(name: Named, known: _Known) -> bool:
    return any(
        one.modality is Modality.CT and one.whose == name.whose for one in known.named.values()
    )


def _identity_of(row: _Row, name: Named, known: _Known) -> tuple[str, str]:
    """Whose a file is: the one DICOM patient below its patient's folder, else by its names."""
    if row.said.patient:
        return row.said.patient, ""
    folder = [row.path, *row.path.parents][max(name.level, 1)]
    others = {
        one.whose for path, one in known.named.items() if path.is_relative_to(folder) and one.whose
    }
    near = {
        known.of_series(one)[0]
        for one in known.series
        if one.path.is_dir() and _first_file(one).resolve().is_relative_to(folder)
    }
    if len(near) == 1 and len(others) < 2 and near != {""}:
        return near.pop(), ""
    return name.whose, name.unclear


def _said(path: Path, manifest: Mapping[Path, ManifestRow]) -> ManifestRow:
    resolved = path.resolve()
    for place in (resolved, *resolved.parents):
        if place in manifest:
            return manifest[place]
    return ManifestRow(path)


def _layouts(rows: Sequence[_Row], known: _Known) -> list[str]:
    """``source 1: BIDS (4 files)``, by source and layout."""
    counts: Counter[tuple[str, str]] = Counter()
    for row in rows:
        name, case = known.named.get(row.path), known.cases.get(row.path)
        if name is not None and row.found.format != "dicom":
            layout = SYNTHRAD if case is not None and case.region else name.layout
            counts[row.label.partition(",")[0], layout] += 1
    return [
        f"{source}: {count} image file{'' if count == 1 else 's'} ordered as {layout}"
        for (source, layout), count in sorted(counts.items())
    ]


def listed_places(found: Search) -> Iterator[tuple[str, str]]:
    """(label, place) of everything: for the person at the terminal."""
    scans: list[Candidate | Extra] = [*found.candidates, *found.extras]
    for one in scans:
        yield one.label, one.place
    for passed in found.passed_over:
        yield passed.label, passed.place
