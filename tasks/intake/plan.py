"""Plans an intake before anything is written: every scan and attachment, and its status."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from synthct.data.errors import UsageError
from synthct.data.readers import Found
from synthct.data.section import REGIONS
from synthct.tasks.ingestion.dataset import Licence, RawDataset, RawFile, RawScan, load_dataset
from synthct.tasks.ingestion.patient import CT
from synthct.tasks.intake.attachments import plan_attachments
from synthct.tasks.intake.choice import decide
from synthct.tasks.intake.inspection import inspect
from synthct.tasks.intake.manifest import ToFillIn, read_manifest
from synthct.tasks.intake.persons import refuse_contradicting_persons
from synthct.tasks.intake.pseudonym import Pseudonyms, load_pseudonyms, require_key
from synthct.tasks.intake.rows import (
    NEW,
    REFUSED,
    IntakeRow,
    PlannedAttachment,
    PlannedScan,
)
from synthct.tasks.intake.scan_index import ScanIndex
from synthct.tasks.intake.search import listed_places, search
from synthct.tasks.intake.source_items import MASK, Skipped
from synthct.tasks.intake.sources import first_place
from synthct.tasks.pipeline.artefacts import DATASET

Progress = Callable[[int, int, str], None]
"""Called with (done, total, label)."""


@dataclass(frozen=True, eq=False)
class IntakePlan:
    """The plan of an intake."""

    dataset: str
    folder: Path
    licence: Licence | None
    scans: tuple[PlannedScan, ...]
    attachments: tuple[PlannedAttachment, ...]
    """Structures, doses and body masks of the scans' patients."""
    notes: tuple[str, ...]
    """Notes on skipped scans, and on patients that lack a scan."""
    places: Mapping[str, str] = field(repr=False)
    """Path by label, shown to the user on request; never stored."""
    deface: bool
    pseudonyms: Pseudonyms = field(repr=False)
    to_fill_in: tuple[ToFillIn, ...] = field(default=(), repr=False)
    """A manifest template of all items; it has paths and patients: written on request only."""

    @property
    def rows(self) -> tuple[IntakeRow, ...]:
        """The table: the scans by patient, then the attachments."""
        return (*(one.row for one in self.scans), *(one.row for one in self.attachments))

    @property
    def new(self) -> tuple[PlannedScan, ...]:
        """Scans that :func:`run_intake` would write."""
        return tuple(scan for scan in self.scans if scan.row.status == NEW)

    @property
    def new_attachments(self) -> tuple[PlannedAttachment, ...]:
        """Attachments that :func:`run_intake` would write."""
        return tuple(attachment for attachment in self.attachments if attachment.row.status == NEW)

    @property
    def open_questions(self) -> bool:
        """Whether scans are refused, or nothing is found but images that a manifest could name."""
        return bool(self.refused or (self.to_fill_in and not self.rows))

    @property
    def refused(self) -> tuple[IntakeRow, ...]:
        """Rows that cannot be ingested; their findings give the reasons."""
        return tuple(row for row in self.rows if row.status == REFUSED)


def plan_intake(
    sources: Sequence[Path],
    dataset: str,
    raw: Path,
    manifest: Path | None = None,
    *,
    patient_from: int | None = None,
    region: str = "other",
    licence: Licence | None = None,
    deface: bool = False,
    progress: Progress | None = None,
) -> IntakePlan:
    """Read every scan of the sources once and plan its intake; nothing is written.

    Parameters
    ----------
    sources
        Folders (any nesting), zips of DICOM, image files.
    dataset
        Name of the data set.
    raw
        Its folder, e.g. ``data/raw/NAME``.
    manifest
        CSV with the columns ``path, patient, modality, region`` that overrides headers and names.
    patient_from
        Level of the folder that names the patient, 1 for the first below a source; None: names
        and headers decide. The manifest takes precedence.
    region
        Region of every scan for which neither the manifest nor the header has one.
    licence
        Replaces the data set's licence.
    deface
        Remove faces from the copies of scans of the head.
    progress
        Called as scans and attachments are read.

    Raises
    ------
    UsageError
        No scans in the sources, a wrong name, region, manifest, level or pseudonym key, or a data
        set of digital patients.
    """
    _require_names(dataset, region)
    names = load_pseudonyms()
    known = load_dataset(raw) if (raw / DATASET).is_file() else RawDataset(dataset=dataset)
    require_key(names, known.key_check, str(raw))
    if known.synthetic:
        raise UsageError(
            f"real scans cannot be added to the digital patients of {known.dataset!r}",
            rule="real scans are not mixed with digital patients",
            where=str(raw),
            remedy="give another --dataset",
            code="dataset-synthetic",
        )
    known = present(known, raw)
    found = search(sources, read_manifest(manifest) if manifest else {}, patient_from)
    inspected = []
    if not (found.candidates or found.attachments or found.skipped):
        raise UsageError(
            "the sources have no DICOM, NIfTI, MetaImage, NRRD or OME-Zarr image",
            where=", ".join(str(source) for source in sources),
            remedy="check the path",
            code="no-scans",
        )
    count = _counter(len(found.candidates) + len(found.attachments), progress)
    for candidate in found.candidates:
        inspected.append(inspect(candidate, names, region))
        count(candidate.label)
    decided, notes = decide(refuse_contradicting_persons(inspected, names, known), known)
    attachments, skipped = plan_attachments(
        found.attachments, ScanIndex(decided, known, raw, names), count
    )
    notes = [
        *found.layouts,
        *(f"{one.label}: {one.reason}" for one in found.skipped),
        *notes,
        *skipped,
        *_incomplete(decided, known),
    ]
    attachments.sort(key=lambda one: (one.row.patient, one.row.scan, one.row.place))
    decided.sort(key=lambda scan: (scan.row.patient, scan.row.scan, scan.row.place))
    places = dict(listed_places(found))
    template = tuple(rows_to_fill_in(decided, attachments, found.skipped))
    return IntakePlan(
        dataset, raw, licence, tuple(decided), tuple(attachments), tuple(notes), places, deface,
        names, template,
    )  # fmt: skip


def present(dataset: RawDataset, raw: Path) -> RawDataset:
    """The data set without the scans and attachments whose files were removed from ``raw``.

    They can be imported again.
    """

    def kept(entries: Mapping[str, RawFile | RawScan]) -> dict[str, Any]:
        return {name: one for name, one in entries.items() if (raw / one.path).exists()}

    patients = {}
    for name, patient in dataset.patients.items():
        update: dict[str, Any] = {
            kind: kept(getattr(patient, kind)) for kind in ("scans", "structures", "masks")
        }
        if patient.dose is not None:
            update["dose"] = kept({"dose": patient.dose}).get("dose")
        patients[name] = patient.model_copy(update=update)
    return dataset.model_copy(update={"patients": patients})


def _require_names(dataset: str, region: str) -> None:
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", dataset):
        raise UsageError(
            f"the data set is called {dataset!r}",
            rule="a data set's name has lower-case letters, digits, - and _",
            where="dataset",
            remedy="give it another name",
            code="bad-dataset-name",
        )
    if region not in REGIONS:
        raise UsageError(
            f"no region is called {region!r}",
            rule=f"a region is one of {', '.join(REGIONS)}",
            where="region",
            remedy="use `other` if none fits",
            code="unknown-region",
        )


def _counter(total: int, progress: Progress | None) -> Callable[[str], None]:
    """A function that calls ``progress`` with one more done at each call."""
    done = itertools.count(1)
    return lambda label: progress(next(done), total, label) if progress is not None else None


def _incomplete(decided: Sequence[PlannedScan], known: RawDataset) -> list[str]:
    scans = {name: set(patient.scans) for name, patient in known.patients.items()}
    for scan in decided:
        if scan.row.status != REFUSED:
            scans.setdefault(scan.row.patient, set()).add(scan.row.scan)
    notes = []
    for name, present in sorted(scans.items()):
        if CT not in present:
            notes.append(f"{name} has no CT: ingestion will exclude the patient")
        elif present == {CT}:
            notes.append(f"{name} has no MR or CBCT: ingestion will exclude the patient")
    return notes


def rows_to_fill_in(
    scans: Sequence[PlannedScan],
    attachments: Sequence[PlannedAttachment],
    skipped: Sequence[Skipped],
) -> Iterator[ToFillIn]:
    """A line of the manifest template for each item that a manifest can include."""
    scans_in = Counter(_folder(scan.candidate.found) for scan in scans)
    for scan in scans:
        one, row = scan.candidate, scan.row
        alone = scans_in[_folder(one.found)] == 1
        place = _folder(one.found) if alone else first_place(one.found)
        yield ToFillIn(place, one.identity, row.modality, row.region, _about(row))
    seen: set[Path] = set()
    for planned in attachments:
        attachment, place = planned.attachment, first_place(planned.attachment.found)
        if place not in seen:
            seen.add(place)
            modality = "MASK" if attachment.kind == MASK else ""
            about, region = _about(planned.row), planned.row.region
            yield ToFillIn(place, attachment.identity, modality, region, about)
    for other in skipped:
        if other.path is not None:
            yield ToFillIn(other.path, "", "", "", f"{other.label}: {other.reason}")


def _folder(found: Found) -> Path:
    """The folder of a series, the file of an image."""
    place = first_place(found)
    return place.parent if found.format == "dicom" else place


def _about(row: IntakeRow) -> str:
    reason = row.findings[-1].sentence if row.status == REFUSED and row.findings else ""
    return f"{row.place}: {reason}" if reason else row.place
