"""The ingestion stage: from the raw data set to one folder of checked volumes per patient."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from synthct.data.errors import DataError
from synthct.data.files import canonical_json, content_hash, write_whole
from synthct.data.tables import write_table
from synthct.data.volume import Modality
from synthct.tasks.ingestion.dataset import RawDataset, RawPatient, RawScan, load_dataset
from synthct.tasks.ingestion.guards import GUARDS
from synthct.tasks.ingestion.near_duplicates import near_duplicates
from synthct.tasks.ingestion.params import IngestionParams
from synthct.tasks.ingestion.patient import ingest_patient
from synthct.tasks.pipeline.artefacts import (
    DATASET,
    LABELS,
    PATIENT,
    QUALITY_TABLE,
    RECONSTRUCTED,
)
from synthct.tasks.pipeline.stage import EXCLUDED, StageContext, Unit, build_out, run_units

STAGE = "ingestion"

QUALITY_COLUMNS = (
    "patient", "scan", "modality", "region", "verdict", "size_zyx", "spacing_zyx_mm", "low",
    "high", "body_median", "body_cm3", "resampled", "findings",
)  # fmt: skip


def run(context: StageContext, params: IngestionParams) -> None:
    """Scans are checked, turned to axes-aligned LPS grids, outlined and stored with checksums."""
    raw = context.layout.raw
    dataset = load_dataset(raw)
    dataset, made = _reconstructed(context, dataset)
    units, unusable = _units(raw, dataset, params, made)
    with build_out(context, STAGE) as out:
        patients = run_units(context, STAGE, out, units, also_excluded=unusable)
        facts = [json.loads((out / name / PATIENT).read_text()) for name in patients]
        duplicates = near_duplicates(out, facts, params.released)
        patients = [name for name in patients if name not in duplicates]
        facts = [one for one in facts if one["patient"] not in duplicates]
        _remove(out, duplicates)
        _list_excluded_scans(out, facts)
        write_table(out / QUALITY_TABLE, QUALITY_COLUMNS, quality_rows(facts))
        write_whole(out / DATASET, canonical_json(_dataset_facts(dataset, patients, params)))
        labels = raw / LABELS
        text = labels.read_text() if labels.is_file() else "{}"
        write_whole(out / LABELS, canonical_json(json.loads(text)))


def _reconstructed(
    context: StageContext, dataset: RawDataset
) -> tuple[RawDataset, dict[str, Path]]:
    """CBCT by patient that the stage ``reconstruction`` has made, and the data set with them.

    A patient whose projections it has excluded has no CBCT: the delivered one would be of another
    kind than those of the others.
    """
    if "reconstruction" not in context.sections:
        return dataset, {}
    made: dict[str, Path] = {}
    patients = dict(dataset.patients)
    for name, patient in dataset.patients.items():
        if "cbct" not in patient.projections:
            continue
        scans = {scan: entry for scan, entry in patient.scans.items() if scan != "cbct"}
        image = context.artefact("reconstruction") / name / RECONSTRUCTED
        if image.is_file():
            made[name] = image
            scans["cbct"] = RawScan(
                path=f"{name}/{RECONSTRUCTED}", format="nifti", modality=Modality.CBCT,
                sha256=content_hash(image),
            )  # fmt: skip
        patients[name] = patient.model_copy(update={"scans": scans})
    return dataset.model_copy(update={"patients": patients}), made


def _units(
    raw: Path, dataset: RawDataset, params: IngestionParams, made: Mapping[str, Path]
) -> tuple[list[Unit], list[dict[str, Any]]]:
    units, unusable = [], []
    for name, patient in sorted(dataset.patients.items()):
        try:
            _require_unchanged(raw, name, patient, made)
            units.append(_unit(raw, name, patient, dataset.synthetic, params, made))
        except DataError as error:
            unusable.append({"unit": name, **error.as_json()})
    return units, unusable


def _require_unchanged(raw: Path, name: str, patient: RawPatient, made: Mapping[str, Path]) -> None:
    for scan, entry in sorted(patient.files().items()):
        if scan == "cbct" and name in made:
            continue
        path = raw / entry.path
        found = content_hash(path) if path.exists() else ""
        if found != entry.sha256:
            raise DataError(
                f"the SHA-256 of the raw scan is {found[:16]}..."
                if found
                else "the raw scan is missing",
                rule=f"a raw scan has the SHA-256 that {DATASET} recorded when it was ingested",
                where=f"{name}/{scan}",
                remedy="run `dvc pull`, or ingest the scan again",
                code="raw-changed",
            )


def _unit(
    raw: Path,
    name: str,
    patient: RawPatient,
    synthetic: bool,
    params: IngestionParams,
    made: Mapping[str, Path],
) -> Unit:
    inputs = {f"scan_{scan}": raw / entry.path for scan, entry in patient.scans.items()}
    if name in made:
        inputs["scan_cbct"] = made[name]
    inputs |= {f"structures_{scan}": raw / one.path for scan, one in patient.structures.items()}
    inputs |= {f"mask_{scan}": raw / one.path for scan, one in patient.masks.items()}
    if patient.dose:
        inputs["dose"] = raw / patient.dose.path
    for scan, truth in patient.truth.items():
        for part in ("ct", "labels", "displacement"):
            inputs[f"truth_{scan}_{part}"] = raw / getattr(truth, part)
    own = {"released": [entry for entry in params.released if entry.startswith(f"{name}/")]}
    return Unit(
        name=name,
        function=ingest_patient,
        inputs=inputs,
        arguments={
            "patient": name,
            "region": patient.region,
            "synthetic": synthetic,
            "modalities": {scan: str(entry.modality) for scan, entry in patient.scans.items()},
            "truth": sorted(patient.truth),
            "params": params.model_copy(update=own).as_json(),
        },
        plugins=tuple(sorted({GUARDS.module_of(guard) for guard in GUARDS.names()})),
    )


def _remove(out: Path, duplicates: Mapping[str, DataError]) -> None:
    """Remove patients with the image of another from the output, and list them as excluded."""
    for name in duplicates:
        shutil.rmtree(out / name)
    rows = [{"unit": name, **error.as_json()} for name, error in sorted(duplicates.items())]
    _add_excluded(out, rows)


def _list_excluded_scans(out: Path, facts: Sequence[Mapping[str, Any]]) -> None:
    """List the excluded scans of patients that are not excluded themselves."""
    rows = [
        {"unit": f"{patient['patient']}/{scan}", **error}
        for patient in facts
        for scan, error in patient["left_out"].items()
    ]
    _add_excluded(out, rows)


def _add_excluded(out: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    if rows:
        excluded = json.loads((out / EXCLUDED).read_text())
        write_whole(out / EXCLUDED, canonical_json([*excluded, *rows]))


def quality_rows(facts: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """One row per scan, including excluded ones."""
    for patient in facts:
        common = {"patient": patient["patient"], "region": patient["region"]}
        for scan, entry in sorted(patient["scans"].items()):
            findings = entry["findings"]
            severities = {finding["severity"] for finding in findings}
            yield {
                **common,
                "scan": scan,
                "modality": entry["modality"],
                "verdict": "repaired" if "repair" in severities else "pass",
                "size_zyx": " ".join(str(size) for size in entry["shape"]),
                "spacing_zyx_mm": " ".join(f"{step:.4g}" for step in entry["spacing_mm"]),
                "low": entry["value_range"][0],
                "high": entry["value_range"][1],
                "body_median": entry["body_median"],
                "body_cm3": entry["body_cm3"],
                "resampled": str(entry["resampled"]).lower(),
                "findings": " ".join(f"{one['severity']}:{one['code']}" for one in findings),
            }
        for scan, error in sorted(patient["left_out"].items()):
            yield {**common, "scan": scan, "verdict": "left out", "findings": error["code"]}


def _dataset_facts(
    dataset: RawDataset, patients: Sequence[str], params: IngestionParams
) -> dict[str, Any]:
    return {
        "format": 1,
        "dataset": dataset.dataset,
        "synthetic": dataset.synthetic,
        "licence": dataset.licence.as_json(),
        "ingestion": params.model_copy(update={"released": []}).as_json(),
        "patients": {
            name: {
                "region": dataset.patients[name].region,
                "scans": sorted(dataset.patients[name].scans),
            }
            for name in patients
        },
    }
