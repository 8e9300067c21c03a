"""Finds one person under two patient IDs, and two persons under one, by name and birth date.

Both are read from the DICOM headers before de-identification; only their keyed hashes are stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from synthct.tasks.ingestion.dataset import RawDataset
from synthct.tasks.ingestion.findings import Code, Severity
from synthct.tasks.intake.pseudonym import Pseudonyms

if TYPE_CHECKING:
    from synthct.tasks.intake.rows import PlannedScan

TWO_NUMBERS = Code(
    "same-patient-twice",
    Severity.QUARANTINE,
    "name and birth date are those of another patient of the data set: one person, two IDs",
    "give both scans the same patient in a manifest, or list this one if they are two persons",
)
TWO_PERSONS = Code(
    "two-persons-one-number",
    Severity.QUARANTINE,
    "the scans of one patient ID have different birth dates",
    "name the patient of each scan in a manifest",
)


def refuse_contradicting_persons(
    scans: Sequence[PlannedScan], names: Pseudonyms, known: RawDataset
) -> list[PlannedScan]:
    """The scans, refused where name and birth date contradict the patient ID.

    Scans that the manifest names are not checked: a person has decided.
    """
    number_of: dict[str, str] = {}
    born_as: dict[str, str] = {}
    for patient, entry in known.patients.items():
        for stored in entry.scans.values():
            if stored.person:
                number_of.setdefault(stored.person, patient)
            if stored.born:
                born_as.setdefault(patient, stored.born)
    checked = []
    for scan in scans:
        scan = _hashed(scan, names)
        if not scan.candidate.listed and scan.row.status != "refused":
            scan = _checked(scan, number_of.get(scan.person), born_as.get(scan.row.patient))
        if scan.row.status != "refused":
            if scan.person:
                number_of.setdefault(scan.person, scan.row.patient)
            if scan.born:
                born_as.setdefault(scan.row.patient, scan.born)
        checked.append(scan)
    return checked


def _hashed(scan: PlannedScan, names: Pseudonyms) -> PlannedScan:
    person, day = scan.candidate.person, scan.candidate.birth_date
    return replace(
        scan,
        person=names.hashed("person", person) if person else "",
        born=names.hashed("born", f"{scan.row.patient} {day}") if day else "",
    )


def _checked(scan: PlannedScan, number: str | None, born: str | None) -> PlannedScan:
    row = scan.row
    if number not in (None, row.patient):
        finding = TWO_NUMBERS.found(f"name and birth date are those of {number}")
    elif scan.born and born not in (None, scan.born):
        finding = TWO_PERSONS.found(f"the birth date differs from that of {row.patient}")
    else:
        return scan
    return replace(scan, row=replace(row, status="refused", findings=(*row.findings, finding)))
