"""Writes de-identified copies into the raw data set, patient by patient, one intake at a time."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from synthct.data.files import content_hash
from synthct.data.readers import format_of
from synthct.data.readers.header_facts import grid_json
from synthct.data.readers.process import call
from synthct.data.writers import write_image
from synthct.tasks.ingestion.dataset import RawDataset, RawFile, RawPatient, RawScan, load_dataset
from synthct.tasks.intake.attachments import read_dose, read_mask
from synthct.tasks.intake.deidentify import copy_series, copy_volume
from synthct.tasks.intake.fit_structures import DRAWING_S
from synthct.tasks.intake.plan import IntakePlan, Progress, present
from synthct.tasks.intake.pseudonym import require_key
from synthct.tasks.intake.rows import PlannedAttachment, PlannedScan
from synthct.tasks.intake.source_items import DOSE, STRUCTURES
from synthct.tasks.intake.structures import copy_structures
from synthct.tasks.pipeline.artefacts import DATASET

WAITING = "another `synthct ingest` is writing to this data set: waiting until it is done"


@dataclass(frozen=True)
class IntakeResult:
    """The result of an intake."""

    dataset: str
    folder: Path
    added: tuple[str, ...]
    """``PATIENT/SCAN`` of the scans that were written."""
    known: int
    refused: int
    overtaken: tuple[str, ...] = ()
    """``PATIENT/SCAN`` that another intake has added since the plan was made: left unchanged."""


def run_intake(
    plan: IntakePlan, progress: Progress | None = None, tell: Callable[[str], None] = lambda _: None
) -> IntakeResult:
    """Write the new scans and attachments of a plan and add them to ``dataset.json``.

    Each scan is written atomically, and ``dataset.json`` is replaced after each patient: a kill
    loses the copies of one patient at most, and the same command continues. Without new scans
    nothing is written. One intake writes at a time (``tell`` is called if it has to wait); the data
    set is read again when the lock is held, and scans that another intake has added are kept.
    """
    with intake_lock(plan.folder, tell):
        return _run_intake(plan, progress)


@contextlib.contextmanager
def intake_lock(folder: Path, tell: Callable[[str], None] = lambda _: None) -> Iterator[None]:
    """Lock the data set in ``folder``; wait for another process that holds it, after a message.

    The lock file is next to the folder, so that DVC does not track it; where the folder is a link,
    next to what it leads to, which other checkouts may share. The lock ends with the process that
    holds it, even if that is killed. It is reentrant.
    """
    place = folder.resolve()
    place.parent.mkdir(parents=True, exist_ok=True)
    mode = place.parent.stat().st_mode & 0o666  # of a group's folder: open to the group
    lock = FileLock(place.parent / f".{place.name}.lock", mode=mode, is_singleton=True)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        tell(WAITING)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _run_intake(plan: IntakePlan, progress: Progress | None) -> IntakeResult:
    new: tuple[PlannedScan | PlannedAttachment, ...] = (*plan.new, *plan.new_attachments)
    added: list[str] = []
    dataset = _current(plan)
    there = present(dataset, plan.folder)
    overtaken = [one for one in new if _is_there(one, there)]
    for patient in sorted({one.row.patient for one in new}):
        own = [one for one in new if one.row.patient == patient and one not in overtaken]
        if not own:
            continue
        entry = dataset.patients.get(patient, RawPatient(region=own[0].row.region))
        for one in own:
            entry = _with(entry, one, plan)
            added.append(f"{patient}/{one.row.scan}")
            if progress is not None:
                progress(len(added), len(new), added[-1])
        dataset = dataset.model_copy(update={"patients": {**dataset.patients, patient: entry}})
        dataset.save(plan.folder)
    if plan.licence is not None and plan.licence != dataset.licence:
        dataset.model_copy(update={"licence": plan.licence}).save(plan.folder)
    counts = [row.status for row in plan.rows]
    late = tuple(f"{one.row.patient}/{one.row.scan}" for one in overtaken)
    return IntakeResult(
        plan.dataset, plan.folder, tuple(added), counts.count("known"), counts.count("refused"),
        late,
    )  # fmt: skip


def _is_there(one: PlannedScan | PlannedAttachment, dataset: RawDataset) -> bool:
    """Whether the data set has such a scan of the patient, or the same voxels elsewhere."""
    entry = dataset.patients.get(one.row.patient)
    if entry is not None and one.row.scan in entry.files():
        return True
    return isinstance(one, PlannedScan) and any(
        scan.origin == one.origin for other in dataset.patients.values()
        for scan in other.scans.values()
    )  # fmt: skip


def _current(plan: IntakePlan) -> RawDataset:
    """The data set as it is now, with the check value of the key."""
    check = plan.pseudonyms.check
    if not (plan.folder / DATASET).is_file():
        return RawDataset(dataset=plan.dataset, key_check=check)
    dataset = load_dataset(plan.folder)
    require_key(plan.pseudonyms, dataset.key_check, str(plan.folder))
    return dataset.model_copy(update={"key_check": check})


def _with(entry: RawPatient, one: PlannedScan | PlannedAttachment, plan: IntakePlan) -> RawPatient:
    """The patient's entry with one more scan or attachment, which is written."""
    if isinstance(one, PlannedScan):
        changed: Mapping[str, Any] = {"scans": {**entry.scans, one.row.scan: _copy(one, plan)}}
    elif one.attachment.kind == DOSE:
        changed = {"dose": _copy_attachment(one, plan)}
    else:
        kind = "structures" if one.attachment.kind == STRUCTURES else "masks"
        changed = {kind: {**getattr(entry, kind), one.scan: _copy_attachment(one, plan)}}
    return entry.model_copy(update=changed)


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


def _copy_attachment(one: PlannedAttachment, plan: IntakePlan) -> RawFile:
    """Masks of structures as ``structures/SCAN/NAME.mha``, ``dose.mha``, ``masks/SCAN.mha``."""
    attachment, patient = one.attachment, one.row.patient
    if attachment.kind == STRUCTURES:
        relative = f"{patient}/structures/{one.scan}"
        folder = plan.folder / relative
        folder.parent.mkdir(parents=True, exist_ok=True)
        call(
            copy_structures,
            reads=[attachment.file],
            writes=[folder.parent],
            more_cpu_s=DRAWING_S * one.count,
            path=str(attachment.file),
            uid=attachment.series,
            grid=grid_json(one.grid) if one.grid else {},
            only=list(one.only),
            folder=str(folder.absolute()),
        )
    elif attachment.kind == DOSE:
        relative = f"{patient}/dose.mha"
        write_image(plan.folder / relative, read_dose(attachment))
    else:
        relative = f"{patient}/masks/{one.scan}.mha"
        write_image(plan.folder / relative, read_mask(attachment))
    path = plan.folder / relative
    return RawFile(path=relative, sha256=content_hash(path), origin=one.origin)
