"""Finds DICOM series and image files in the sources, and determines their patients."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from synthct.data.readers import Found
from synthct.data.readers.process import call
from synthct.data.readers.synthrad import (
    NNUNET_DESCRIPTION,
    CaseFolder,
    case_folders,
    channel_names,
)
from synthct.data.volume import Modality
from synthct.tasks.intake.identity import NOBODY, Identity, alone, key_of, series_identities
from synthct.tasks.intake.layout import Named, named_files, perhaps_visits
from synthct.tasks.intake.manifest import ManifestRow
from synthct.tasks.intake.source_items import (
    DOSE,
    MASK,
    STRUCTURES,
    Attachment,
    Candidate,
    Skipped,
    skip_reason,
    unnamed_reason,
)
from synthct.tasks.intake.sources import Row, named_by_folder, rows_of

_NO_MAGNITUDE = frozenset({"P", "PHASE", "PHASE MAP", "R", "REAL", "I", "IMAGINARY"})
"""Kinds of MR images that are not magnitude images (DICOM PS3.3 C.8.3.1.1.1)."""

_REGIONS = {
    "head-neck": ("HEAD", "NECK", "HEADNECK", "BRAIN", "SKULL", "CSPINE"),
    "thorax": ("CHEST", "THORAX", "LUNG", "HEART", "BREAST", "TSPINE"),
    "abdomen": ("ABDOMEN", "ABDOMENPELVIS", "LIVER", "PANCREAS", "KIDNEY"),
}
"""Regions by BodyPartExamined."""

SYNTHRAD = "SynthRAD"


@dataclass
class Search:
    """Candidates, attachments, skipped items with the reason, and layouts of the files."""

    candidates: list[Candidate] = field(default_factory=list)
    attachments: list[Attachment] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    layouts: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Known:
    """Facts derived from all items together."""

    identities: Mapping[tuple[str, str], Identity]
    unbound: set[str]
    named: Mapping[Path, Named]
    cases: Mapping[Path, CaseFolder]
    series: Sequence[Found]

    def of_series(self, row: Found) -> tuple[str, str]:
        """The patient of a DICOM row, or "" and the reason."""
        one = self.identities[key_of(row)]
        if not one.text or one.text in self.unbound:
            return "", one.unclear or NOBODY
        return one.text, ""


def search(
    sources: Sequence[Path], manifest: Mapping[Path, ManifestRow], patient_from: int | None = None
) -> Search:
    """Search the sources and the paths of the manifest for scans and attachments.

    Parameters
    ----------
    sources, manifest
        As given by the user.
    patient_from
        Level of the folder that names the patient, 1 for the first below a source; None: names
        and headers decide.

    Raises
    ------
    UsageError
        ``no-source``: a source does not exist. ``no-patient-folder``: no scan lies that deep.
    """
    rows = list(rows_of(sources, manifest))
    if patient_from is not None:
        rows = named_by_folder(rows, patient_from)
    known = _look(rows)
    result = Search()
    for row in rows:
        outcome = _judge(row, known)
        if isinstance(outcome, Candidate):
            result.candidates.append(outcome)
        elif isinstance(outcome, Attachment):
            result.attachments.append(outcome)
        else:
            result.skipped.append(Skipped(row.label, outcome, row.found.place, row.nameable))
    result.layouts = _layouts(rows, known)
    return result


def _look(rows: Sequence[Row]) -> _Known:
    """Derive patients, names and case folders from all items together."""
    dicom = [row.found for row in rows if _is_dicom(row.found)]
    scans = [row for row in dicom if row.kind == "scan"]
    open_rows = {key_of(row.found) for row in rows if not row.entry.patient}
    identities = series_identities(dicom)
    files = [row for row in rows if row.found.kind == "scan" and row.found.format != "dicom"]
    unnamed = {row.path: _root(row.source) for row in files if not row.entry.patient}
    cases = {
        path.resolve(): case
        for source in {row.source for row in rows}
        for case in case_folders(source)
        for path in (*case.scans.values(), *([case.mask] if case.mask else []))
    }
    return _Known(
        identities,
        alone(identities, [row for row in scans if key_of(row) in open_rows]),
        named_files(unnamed, _channels(unnamed)),
        cases,
        scans,
    )


def _is_dicom(row: Found) -> bool:
    return row.format == "dicom" and row.kind in ("scan", STRUCTURES, DOSE)


def _root(source: Path) -> Path:
    resolved = source.resolve()
    return resolved if resolved.is_dir() and resolved.suffix != ".zarr" else resolved.parent


def _channels(files: Mapping[Path, Path]) -> dict[Path, Mapping[str, str]]:
    """Folder of an nnU-Net data set to the names of the channels in its ``dataset.json``."""
    folders = {path.parent.parent for path in files if path.parent.name.startswith("images")}
    descriptions = {folder: folder / NNUNET_DESCRIPTION for folder in folders}
    return {
        folder: call(channel_names, reads=[file], path=str(file))
        for folder, file in descriptions.items()
        if file.is_file()
    }


def _judge(row: Row, known: _Known) -> Candidate | Attachment | str:
    """A candidate, an attachment, or the reason why it is neither."""
    found, entry = row.found, row.entry
    if found.kind in (STRUCTURES, DOSE):
        identity = entry.patient or known.of_series(found)[0] or found.series
        return Attachment(found, row.label, identity, found.kind, entry.listed, entry.modality)
    if found.kind != "scan":
        return skip_reason(found)
    return _from_series(row, known) if found.format == "dicom" else _from_file(row, known)


def _first_file(row: Found) -> Path:
    return row.path / row.files[0] if row.path.is_dir() and row.files else row.path


def _from_series(row: Row, known: _Known) -> Candidate | str:
    found, entry = row.found, row.entry
    modality = entry.modality or found.modality
    if modality is None:
        return "neither CT nor MR"
    kinds = {str(part).upper() for part in list(found.header.get("ImageType") or ())[2:]}
    if modality is Modality.MR and kinds & _NO_MAGNITUDE and not entry.listed:
        return "a phase, real or imaginary image, not a magnitude"
    part = str(found.header.get("BodyPartExamined", "")).upper()
    by_part = next((region for region, parts in _REGIONS.items() if part in parts), "")
    identity, unclear = (entry.patient, "") if entry.patient else known.of_series(found)
    bound = not entry.patient and known.identities[key_of(found)].bound
    return Candidate(found, row.label, identity, modality, region=entry.region or by_part,
                     listed=entry.listed, unclear=unclear, bound=bound)  # fmt: skip


def _from_file(row: Row, known: _Known) -> Candidate | Attachment | str:
    entry, case = row.entry, known.cases.get(row.path)
    name = known.named.get(row.path) or named_files({row.path: _root(row.source)}, {})[row.path]
    is_mask = case is not None and case.mask is not None and row.path.samefile(case.mask)
    identity, unclear = _identity_of(row, name, known)
    if entry.modality is Modality.MASK or (is_mask and entry.modality is None):
        return Attachment(row.found, row.label, identity or row.label, MASK, entry.listed)
    modality = entry.modality or (None if name.mask else name.modality)
    reason = unnamed_reason(name) if entry.modality is None else ""
    if modality is Modality.CBCT and entry.modality is None and not _has_ct(name, known):
        reason = "a file name with CBCT is not believed without a matching CT: use a manifest"
    if reason or modality is None:
        return reason
    region = entry.region or (case.region if case else "") or ""
    return Candidate(replace(row.found, modality=modality), row.label, identity, modality,
                     guessed=entry.modality is None, region=region, listed=entry.listed,
                     unclear=unclear, session=name.day, group=name.group)  # fmt: skip


def _has_ct(name: Named, known: _Known) -> bool:
    return any(
        one.modality is Modality.CT and one.patient == name.patient for one in known.named.values()
    )


def _identity_of(row: Row, name: Named, known: _Known) -> tuple[str, str]:
    """The patient of a file: the only DICOM patient in its patient's folder, else by its names."""
    if row.entry.patient:
        return row.entry.patient, ""
    folder = [row.path, *row.path.parents][max(name.level, 1)]
    others = {
        one.patient
        for path, one in known.named.items()
        if path.is_relative_to(folder) and one.patient
    }
    near = {
        known.of_series(one)[0]
        for one in known.series
        if one.path.is_dir() and _first_file(one).resolve().is_relative_to(folder)
    }
    if len(near) == 1 and len(others) < 2 and near != {""}:
        return near.pop(), ""
    return name.patient, name.unclear


def _layouts(rows: Sequence[Row], known: _Known) -> list[str]:
    """``source 1: BIDS (4 files)``, by source and layout; and names that may be of one patient."""
    counts: Counter[tuple[str, str]] = Counter()
    for row in rows:
        name, case = known.named.get(row.path), known.cases.get(row.path)
        if name is not None and row.found.format != "dicom":
            layout = SYNTHRAD if case is not None and case.region else name.layout
            counts[row.label.partition(",")[0], layout] += 1
    labels = {row.path: row.label for row in rows}
    alike = [sorted(labels[path] for path in paths) for paths in perhaps_visits(known.named)]
    return [
        *(
            f"{source}: {count} image file{'' if count == 1 else 's'} organised as {layout}"
            for (source, layout), count in sorted(counts.items())
        ),
        *(
            f"{first}: taken for another patient than {', '.join(others)}, whose name differs only "
            "in a last number; if these are visits of one patient, say so in a manifest "
            "(--write-manifest)"
            for first, *others in sorted(alike)
        ),
    ]


def listed_places(found: Search) -> Iterator[tuple[str, str]]:
    """(label, place) of all items, for the user."""
    items: list[Candidate | Attachment | Skipped] = [
        *found.candidates, *found.attachments, *found.skipped,
    ]  # fmt: skip
    for one in items:
        yield one.label, one.place
