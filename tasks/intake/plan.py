"""The table before anything is written: what would be taken in, from where, as what."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from synthct.data.errors import DataError, UsageError
from synthct.tasks.ingestion.check import guarded, header_findings
from synthct.tasks.ingestion.dataset import Licence, RawDataset, load_dataset
from synthct.tasks.ingestion.findings import Code, Finding, Severity, worst
from synthct.tasks.ingestion.params import IngestionParams
from synthct.tasks.ingestion.patient import CT
from synthct.tasks.intake.attachments import plan_extras
from synthct.tasks.intake.burned_in_text import BURNED_IN_SAID, beside_body
from synthct.tasks.intake.candidate import Candidate
from synthct.tasks.intake.choice import decide
from synthct.tasks.intake.fill_in import rows_to_fill_in
from synthct.tasks.intake.manifest import ToFillIn, read_manifest
from synthct.tasks.intake.passed import Passed
from synthct.tasks.intake.persons import persons_apart
from synthct.tasks.intake.pseudonym import Pseudonyms, load_pseudonyms, require_key
from synthct.tasks.intake.rows import (
    NEW,
    REFUSED,
    IntakeRow,
    PlannedAttachment,
    PlannedScan,
    content_of,
    orientation,
)
from synthct.tasks.intake.scan_index import ScanIndex
from synthct.tasks.intake.scrub import spoken, told
from synthct.tasks.intake.search import listed_places, search
from synthct.tasks.pipeline.artefacts import DATASET

BY_NAME = Code("modality-by-name", Severity.NOTE, "the modality was taken from the file name")
UNCLEAR = Code(
    "identity-unclear",
    Severity.REJECT,
    "whose scan it is cannot be told from numbers, UIDs and names: two patients could become one",
    "write what was found with --write-manifest FILE, name the patients, give it with --manifest",
)
REGIONS = ("head-neck", "thorax", "abdomen", "other")
"""Parts of the body that scans are filed under."""

Progress = Callable[[int, int, str], None]
"""Called with (done, total, what)."""


@dataclass(frozen=True, eq=False)
class IntakePlan:
    """What would happen."""

    dataset: str
    folder: Path
    licence: Licence | None
    scans: tuple[PlannedScan, ...]
    extras: tuple[PlannedAttachment, ...]
    """Structures, doses and body masks of the scans' patients."""
    notes: tuple[str, ...]
    """What was passed over, and patients that lack a scan."""
    places: Mapping[str, str] = field(repr=False)
    """Where each ``place`` is: for the person at the terminal, who asks; never stored."""
    deface: bool
    pseudonyms: Pseudonyms = field(repr=False)
    to_fill_in: tuple[ToFillIn, ...] = field(default=(), repr=False)
    """A manifest of everything found; it names paths and people: written on request only."""

    @property
    def rows(self) -> tuple[IntakeRow, ...]:
        """The table: the scans by patient, then what lies beside them."""
        return (*(scan.row for scan in self.scans), *(extra.row for extra in self.extras))

    @property
    def new(self) -> tuple[PlannedScan, ...]:
        """Scans that :func:`take_in` would write."""
        return tuple(scan for scan in self.scans if scan.row.status == NEW)

    @property
    def new_extras(self) -> tuple[PlannedAttachment, ...]:
        """What it would write beside scans."""
        return tuple(extra for extra in self.extras if extra.row.status == NEW)

    @property
    def refused(self) -> tuple[IntakeRow, ...]:
        """Rows that cannot be taken in; their findings say why."""
        return tuple(row for row in self.rows if row.status == REFUSED)


def plan_intake(
    sources: Sequence[Path],
    dataset: str,
    raw: Path,
    manifest: Path | None = None,
    *,
    region: str = "other",
    licence: Licence | None = None,
    deface: bool = False,
    progress: Progress | None = None,
) -> IntakePlan:
    """Look at the sources, read every scan once, and say what would be taken in; writes nothing.

    Parameters
    ----------
    sources
        Folders (any nesting), zips of DICOM, image files.
    dataset
        Name of the data set.
    raw
        Its folder, e.g. ``data/raw/NAME``.
    manifest
        CSV with the columns ``path, patient, modality, region`` that overrides names and folders.
    region
        Of every scan that the manifest does not name.
    licence
        Replaces the data set's licence.
    deface
        Remove the faces of heads from the copies.
    """
    _require_names(dataset, region)
    names = load_pseudonyms()
    known = load_dataset(raw) if (raw / DATASET).is_file() else RawDataset(dataset=dataset)
    require_key(names, known.key_check, str(raw))
    if known.synthetic:
        raise UsageError(
            "real scans are not mixed with digital patients",
            where=str(raw),
            got=f"data set {known.dataset!r}",
            remedy="give another --dataset",
            code="dataset-synthetic",
        )
    found = search(sources, read_manifest(manifest) if manifest else {})
    inspected = []
    if not (found.candidates or found.extras or found.passed_over):
        raise UsageError(
            "a source holds scans",
            where=", ".join(str(source) for source in sources),
            got="no DICOM, NIfTI, MetaImage, NRRD or OME-Zarr",
            remedy="check the path",
            code="no-scans",
        )
    looked = _counter(len(found.candidates) + len(found.extras), progress)
    for candidate in found.candidates:
        inspected.append(_inspect(candidate, names, region))
        looked(candidate.label)
    decided, notes = decide(persons_apart(inspected, names, known), known)
    extras, passed = plan_extras(found.extras, ScanIndex(decided, known, raw, names), looked)
    notes = [
        *found.layouts,
        *_passed(found.passed_over),
        *notes,
        *passed,
        *_incomplete(decided, known),
    ]
    extras.sort(key=lambda one: (one.row.patient, one.row.scan, one.row.place))
    decided.sort(key=lambda scan: (scan.row.patient, scan.row.scan, scan.row.place))
    places = dict(listed_places(found))
    asked = tuple(rows_to_fill_in(decided, extras, found.passed_over))
    return IntakePlan(
        dataset, raw, licence, tuple(decided), tuple(extras), tuple(notes), places, deface, names,
        asked,
    )  # fmt: skip


def _require_names(dataset: str, region: str) -> None:
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", dataset):
        raise UsageError(
            "a data set's name has lower-case letters, digits, - and _",
            problem=f"the data set is called {dataset!r}",
            where="dataset",
            remedy="give it another name",
            code="bad-dataset-name",
        )
    if region not in REGIONS:
        raise UsageError(
            f"a region is one of {', '.join(REGIONS)}",
            problem=f"no region is called {region!r}",
            where="region",
            remedy="take other where none fits",
            code="unknown-region",
        )


def _counter(total: int, progress: Progress | None) -> Callable[[str], None]:
    """Tells ``progress`` of one thing more at each call."""
    done = itertools.count(1)
    return lambda label: progress(next(done), total, label) if progress is not None else None


def _passed(passed: Sequence[Passed]) -> list[str]:
    return [f"{one.label}: {one.reason}" for one in passed]


def _inspect(candidate: Candidate, names: Pseudonyms, region: str) -> PlannedScan:
    row = IntakeRow(
        patient=names.patient(candidate.identity),
        scan=str(candidate.modality).lower(),
        modality=str(candidate.modality),
        region=candidate.region or region,
        format=candidate.format,
        place=candidate.label,
    )
    if candidate.unclear:
        finding = UNCLEAR.found(candidate.unclear)
        row = replace(row, patient="", findings=(finding,), status=REFUSED)
        return PlannedScan(row, candidate)
    try:
        volume, facts = candidate.read()
    except DataError as fault:
        remedy = spoken(fault.remedy, candidate.secrets)
        said = told(fault, candidate.secrets)
        finding = Finding(fault.code, Severity.REJECT, said, remedy)
        return PlannedScan(replace(row, status=REFUSED, findings=(finding,)), candidate)
    looked, findings = guarded(volume, None, IngestionParams())
    findings = [*header_findings(facts), *findings, *beside_body(looked, row.region)]
    if str(candidate.found.header.get("BurnedInAnnotation", "")).upper() == "YES":
        findings.append(BURNED_IN_SAID.found("the header says that text is burned in"))
    if candidate.guessed:
        findings.append(BY_NAME.found(f"modality {candidate.modality} taken from the file name"))
    row = replace(
        row,
        size=volume.grid.shape[::-1],
        spacing_mm=volume.grid.spacing_mm[::-1],
        orientation=orientation(volume.grid),
        value_range=(float(looked.array.min()), float(looked.array.max())),
        findings=tuple(findings),
        status=REFUSED if _contradicted(candidate, findings) else NEW,
    )
    return PlannedScan(row, candidate, names.hashed("scan", content_of(volume)))


def _contradicted(candidate: Candidate, findings: Iterable[Finding]) -> bool:
    """Unfit, or a modality that was only guessed and that the voxels deny."""
    severity = worst(findings)
    told = {one.code for one in findings}
    if told & {"burned-in-text", BURNED_IN_SAID.name} and not candidate.listed:
        return True  # before anything is stored; a manifest that names the scan overrides it
    return severity is Severity.REJECT or (candidate.guessed and "wrong-modality" in told)


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
