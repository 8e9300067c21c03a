"""Taking in: de-identified copies into the raw data set, patient by patient."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from data.files import content_hash
from data.readers import format_of
from data.readers.process import call
from tasks.ingestion.dataset import DATASET_FILE, RawDataset, RawPatient, RawScan, load_dataset
from tasks.ingestion.intake.deidentify import copy_series, copy_volume
from tasks.ingestion.intake.plan import IntakePlan, PlannedScan, Progress


@dataclass(frozen=True)
class IntakeResult:
    """What was done."""

    dataset: str
    folder: Path
    added: tuple[str, ...]
    """``PATIENT/SCAN`` of the scans that were written."""
    known: int
    refused: int


def take_in(plan: IntakePlan, progress: Progress | None = None) -> IntakeResult:
    """Write the plan's new scans and enter them into ``dataset.json``.

    Each scan appears whole or not at all; ``dataset.json`` is replaced after each patient, so a
    kill loses at most one patient's copies and the same command goes on. Nothing new, nothing
    written.
    """
    new = plan.new
    added: list[str] = []
    dataset = _current(plan)
    for patient in sorted({scan.row.patient for scan in new}):
        own = [scan for scan in new if scan.row.patient == patient]
        entries: dict[str, RawScan] = {}
        for scan in own:
            entries[scan.row.scan] = _copy(scan, plan)
            added.append(f"{patient}/{scan.row.scan}")
            if progress is not None:
                progress(len(added), len(new), added[-1])
        dataset = _with_patient(dataset, patient, own, entries)
        dataset.save(plan.folder)
    if plan.licence is not None and plan.licence != dataset.licence:
        dataset.model_copy(update={"licence": plan.licence}).save(plan.folder)
    counts = [row.status for row in plan.rows]
    return IntakeResult(
        plan.dataset, plan.folder, tuple(added), counts.count("known"), counts.count("refused")
    )


def _current(plan: IntakePlan) -> RawDataset:
    if (plan.folder / DATASET_FILE).is_file():
        return load_dataset(plan.folder)
    return RawDataset(dataset=plan.dataset)


def _copy(scan: PlannedScan, plan: IntakePlan) -> RawScan:
    row, candidate = scan.row, scan.candidate
    deface = plan.deface and row.region == "head-neck"
    if candidate.format == "dicom":
        relative = f"{row.patient}/{row.scan}"
        folder = plan.folder / relative
        folder.parent.mkdir(parents=True, exist_ok=True)
        call(
            copy_series,
            reads=[candidate.folder],
            writes=[folder.parent],
            path=str(candidate.folder),
            series=candidate.found.series,
            folder=str(folder.absolute()),
            patient=row.patient,
            modality=str(candidate.modality),
            key=plan.pseudonyms.key.decode(),
            deface=deface,
        )
    else:
        relative = f"{row.patient}/{row.scan}.mha"
        copy_volume(candidate.read()[0], plan.folder / relative, deface=deface)
    path = plan.folder / relative
    return RawScan(
        path=relative,
        format=format_of(path),  # type: ignore[arg-type]
        modality=candidate.modality,
        sha256=content_hash(path),
        origin=scan.origin,
        person=scan.person,
        born=scan.born,
    )


def _with_patient(
    dataset: RawDataset, name: str, own: Sequence[PlannedScan], entries: dict[str, RawScan]
) -> RawDataset:
    before = dataset.patients.get(name, RawPatient(region=own[0].row.region))
    patient = before.model_copy(update={"scans": {**before.scans, **entries}})
    return dataset.model_copy(update={"patients": {**dataset.patients, name: patient}})
