"""The unit function of ingestion: raw scans of a patient to checked volumes with body masks."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from synthct.data.errors import DataError
from synthct.data.files import canonical_json, write_whole
from synthct.data.readers import read_scan_and_facts
from synthct.data.readers.header_facts import ScanFacts
from synthct.data.store.volumes import write_volume
from synthct.data.volume import Modality, Volume
from synthct.tasks.ingestion.attachments import (
    store_attached,
    store_truth,
    upright_mask,
    without_path,
)
from synthct.tasks.ingestion.check import check_volume, header_findings
from synthct.tasks.ingestion.findings import Finding, Severity, worst
from synthct.tasks.ingestion.near_duplicates import fingerprint
from synthct.tasks.ingestion.pairs import pair_findings
from synthct.tasks.ingestion.params import IngestionParams
from synthct.tasks.pipeline.artefacts import PATIENT
from synthct.tasks.pipeline.events import emit

CT = "ct"
"""Name of the planning CT; every other scan of a patient is a source of a synthetic CT."""


@dataclass(frozen=True, eq=False)
class Checked:
    """A scan that was read and checked, with its header facts and findings."""

    volume: Volume
    mask: Volume
    facts: ScanFacts
    resampled: bool
    findings: tuple[Finding, ...]


def ingest_patient(
    *,
    out: Path,
    patient: str,
    region: str,
    synthetic: bool,
    modalities: Mapping[str, str],
    truth: list[str],
    params: Mapping[str, Any],
    **paths: Path,
) -> None:
    """Check and store one patient.

    Parameters
    ----------
    modalities
        Modality by scan name (``{"ct": "CT", "mr": "MR"}``).
    truth
        Source scans with known truth.
    params
        ``IngestionParams`` as JSON.
    paths
        ``scan_NAME`` for each scan; ``mask_NAME`` the body mask supplied with it,
        ``structures_NAME`` the folder of its structures' masks; ``dose``; ``truth_NAME_ct``,
        ``truth_NAME_labels``, ``truth_NAME_displacement``.

    Raises
    ------
    DataError
        ``missing-modality``: without the rejected scans there is no CT, or no MR or CBCT. Single
        rejected scans are recorded in ``left_out`` of ``patient.json``.
    """
    section = IngestionParams.from_json(params)
    scans: dict[str, Any] = {}
    left_out: dict[str, Any] = {}
    seen: dict[str, str] = {}
    planning: Checked | None = None
    for name, modality in sorted(modalities.items(), key=lambda item: (item[0] != CT, item[0])):
        try:
            checked = check_scan(
                paths[f"scan_{name}"],
                Modality(modality),
                region,
                section,
                paths.get(f"mask_{name}"),
            )
            checked = compared(planning, checked)
            _require_fit(patient, name, checked, section)
            _require_new(patient, name, checked.volume, seen)
        except DataError as error:
            left_out[name] = without_path(error, paths[f"scan_{name}"], f"{patient}/{name}")
            continue
        planning = checked if name == CT else planning
        write_volume(out / f"{name}.zarr", checked.volume)
        write_volume(out / f"{name}_body.zarr", checked.mask)
        scans[name] = scan_facts(checked)
        emit("step", stage="ingestion", unit=f"{patient}/{name}", findings=len(checked.findings))
    _require_pair(patient, scans, left_out)
    for name in truth:
        if name in scans:
            store_truth(out, name, paths)
    attached = store_attached(out, scans, paths, left_out)
    facts = {
        "patient": patient, "region": region, "synthetic": synthetic, "scans": scans,
        "left_out": left_out, **attached,
    }  # fmt: skip
    write_whole(out / PATIENT, canonical_json(facts))


def check_scan(
    path: Path,
    modality: Modality,
    region: str,
    params: IngestionParams,
    mask: Path | None = None,
) -> Checked:
    """Read and check one scan; ``mask`` is the body mask supplied with it."""
    scan, facts = read_scan_and_facts(path, modality, require_finite=False)
    found = check_volume(scan, region, params, given=upright_mask(mask) if mask else None)
    findings = (*header_findings(facts), *found.findings)
    return Checked(found.volume, found.mask, facts, found.resampled, findings)


def compared(ct: Checked | None, source: Checked) -> Checked:
    """The source with the findings from its comparison with the patient's CT."""
    if ct is None or worst(source.findings) is Severity.REJECT:
        return source
    found = pair_findings(
        (source.volume, source.mask), (ct.volume, ct.mask), (source.facts.frame, ct.facts.frame)
    )
    return replace(source, findings=(*source.findings, *found))


def scan_facts(checked: Checked) -> dict[str, Any]:
    """The entry of one scan in ``patient.json``."""
    volume, original = checked.volume, checked.facts.grid
    inside = volume.array[checked.mask.array > 0]
    return {
        "modality": str(volume.modality),
        "shape": list(volume.grid.shape),
        "spacing_mm": list(volume.grid.spacing_mm),
        "value_range": [float(volume.array.min()), float(volume.array.max())],
        "body_median": float(np.median(inside)) if inside.size else 0.0,
        "body_cm3": round(inside.size * volume.grid.voxel_mm3 / 1000, 1),
        "format": checked.facts.format,
        "sequence": checked.facts.sequence,
        "resampled": checked.resampled,
        "original": {
            "shape": list(original.shape),
            "spacing_mm": list(original.spacing_mm),
            "origin_mm": list(original.origin_mm),
            "direction": [list(row) for row in original.direction],
        },
        "findings": [finding.as_json() for finding in checked.findings],
        "fingerprint": fingerprint(volume),
    }


def _require_fit(patient: str, name: str, checked: Checked, params: IngestionParams) -> None:
    severity = worst(checked.findings)
    released = f"{patient}/{name}" in params.released
    if severity is Severity.REJECT or (severity is Severity.QUARANTINE and not released):
        finding = next(one for one in checked.findings if one.severity is severity)
        remedy = finding.remedy
        if severity is Severity.QUARANTINE:
            remedy += f"; if the scan is correct, list {patient}/{name} in ingestion.released"
        raise DataError(
            finding.sentence,
            rule=f"a scan passes the guards ({severity})",
            where=f"{patient}/{name}",
            remedy=remedy,
            code=finding.code,
        )


def _require_new(patient: str, name: str, volume: Volume, seen: dict[str, str]) -> None:
    digest = hashlib.sha256(volume.array.tobytes()).hexdigest()
    if digest in seen:
        raise DataError(
            f"the scan has the same voxels as {seen[digest]}",
            rule="the scans of a patient are different images",
            where=f"{patient}/{name}",
            remedy="check which scan is which",
            code="same-scan-twice",
        )
    seen[digest] = name


def _require_pair(patient: str, scans: Mapping[str, Any], left_out: Mapping[str, Any]) -> None:
    missing = []
    if CT not in scans:
        missing.append("CT")
    if not set(scans) - {CT}:
        missing.append("MR or CBCT")
    if missing:
        reasons = "; ".join(f"{name}: {_reason(row)}" for name, row in left_out.items())
        raise DataError(
            f"the patient has no {' and no '.join(missing)}" + (f" ({reasons})" if reasons else ""),
            where=patient,
            remedy="add the missing scan or remove the patient from the data set",
            code="missing-modality",
        )


def _reason(row: Mapping[str, str]) -> str:
    """Problem and rule of an error."""
    return "; ".join(row[key] for key in ("problem", "rule") if row.get(key))
