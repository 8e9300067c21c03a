"""The patients and their scans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from synthct.tasks.figures.names import MODALITIES
from synthct.tasks.figures.numbers import without_folders
from synthct.tasks.report.reading import Chain
from synthct.tasks.report.table import Cell, Column, Table, from_rows

NOT_SHOWN = ("modality", "region", "findings")
"""Columns of ``quality.csv`` that the table of patients already shows."""


@dataclass(frozen=True)
class Cohort:
    """Facts of the data set, the patients and their scans."""

    there: bool
    facts: Sequence[tuple[str, str]]
    patients: Table
    scans: Table | None


def cohort(chain: Chain) -> Cohort:
    """The cohort after ingestion."""
    scans = None
    if chain.scan_rows:
        rows = [{k: without_folders(v) for k, v in row.items()} for row in chain.scan_rows]
        caption = "Every scan after ingestion, as measured from its voxels"
        scans = from_rows(caption, rows, leave_out=NOT_SHOWN)
    return Cohort(chain.has("ingestion"), _facts(chain), _patients(chain), scans)


def _facts(chain: Chain) -> list[tuple[str, str]]:
    licence = chain.dataset.get("licence") or {}
    facts = [
        ("Data set", str(chain.dataset.get("dataset", "not named"))),
        ("Patients", "digital, with known truth" if chain.synthetic else "ingested, pseudonymised"),
        ("Licence", str(licence.get("name") or "not stated")),
    ]
    if licence.get("non_commercial"):
        facts.append(("Use", "non-commercial only"))
    if licence.get("url"):
        facts.append(("Licence text", str(licence["url"])))
    if licence.get("cite"):
        facts.append(("Cite", str(licence["cite"])))
    if shared := _shared(chain):
        facts.append(("Found in every patient", "; ".join(shared)))
    return facts


def _patients(chain: Chain) -> Table:
    scans = [name for name in MODALITIES if any(_scan(p, name) for p in chain.patients.values())]
    columns = [Column("Patient"), Column("Region")]
    columns += [Column(MODALITIES[name], "voxels (z, y, x) at mm") for name in scans]
    shared = _shared(chain)
    columns += [Column("Further findings" if shared else "Findings")]
    rows = [
        [
            Cell(name),
            Cell(str(patient.get("region", "")), "name"),
            *[Cell(_size(_scan(patient, scan)), "name") for scan in scans],
            Cell("; ".join(f for f in _findings(patient) if f not in shared) or "none", "long"),
        ]
        for name, patient in sorted(chain.patients.items())
    ]
    return Table("Patients and the size of their scans", columns, rows)


def _scan(patient: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    return (patient.get("scans") or {}).get(name) or {}


def _size(scan: Mapping[str, Any]) -> str:
    if not scan:
        return "–"
    voxels = " × ".join(str(n) for n in scan.get("shape", ()))
    spacing = " × ".join(f"{float(s):.3g}" for s in scan.get("spacing_mm", ()))
    return f"{voxels} at {spacing}"


def _shared(chain: Chain) -> list[str]:
    """Findings common to all of several patients, which are shown once."""
    first, *others = [_findings(patient) for patient in chain.patients.values()] or [[]]
    return [f for f in first if others and all(f in other for other in others)]


def _findings(patient: Mapping[str, Any]) -> list[str]:
    findings: list[str] = []
    for name in MODALITIES:
        findings += [f"{MODALITIES[name]}: {_as_text(f)}" for f in _listed(_scan(patient, name))]
    for name, why in sorted((patient.get("left_out") or {}).items()):
        findings.append(f"{MODALITIES.get(name, name)} left out: {_as_text(why)}")
    return [without_folders(each) for each in findings]


def _listed(scan: Mapping[str, Any]) -> Sequence[Any]:
    found = scan.get("findings") or ()
    return [found] if isinstance(found, str) else list(found)


def _as_text(finding: Any) -> str:
    if isinstance(finding, Mapping):
        text = "; ".join(str(finding[key]) for key in ("problem", "rule") if finding.get(key))
        return str(finding.get("sentence") or text or finding.get("code") or "")
    return str(finding)
