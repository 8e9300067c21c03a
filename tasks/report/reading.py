"""The artefacts of all stages as values, without voxels; stages may be missing."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from synthct.data.errors import UsageError
from synthct.data.layout import Layout, study_folder
from synthct.data.tables import read_table
from synthct.tasks.pipeline.artefacts import (
    CARD,
    CASE,
    DATASET,
    FOLDS,
    HISTORY,
    LABELS,
    MODEL,
    PATIENT,
    PRETRAINED,
    QUALITY,
    QUALITY_TABLE,
    REFUSED,
    SCORES,
    SUMMARY,
    TRUST,
)
from synthct.tasks.pipeline.stage import EXCLUDED, UNIT_KEYS

STAGES = ("ingestion", "registration", "pretraining", "training", "evaluation", "export")
"""The stages whose outputs the report reads, in the order of the pipeline."""


Row = Mapping[str, str]


@dataclass(frozen=True)
class Score:
    """One line of ``evaluation/scores.csv``."""

    case: str
    patient: str
    source: str
    region: str
    fold: str
    method: str
    reference: str
    metric: str
    value: float


@dataclass(frozen=True)
class Study:
    """The tables of one study; ``name`` is its workspace, empty for that of the report."""

    name: str
    summary: Mapping[str, Any]
    effects: Sequence[Row]
    matrix: Sequence[Row]
    bias: Sequence[Row]


@dataclass(frozen=True)
class Chain:
    """The small output files of all stages.

    Parameters
    ----------
    folders
        Output folder of each stage that has run.
    dataset, labels
        ``ingestion/dataset.json`` and ``labels.json``.
    patients, cases
        ``patient.json`` by patient; ``case.json`` and ``quality.json`` by case.
    scan_rows, registration_rows
        The stages' ``quality.csv``.
    features, feature_histories
        ``pretraining/SOURCE_foldK/pretrained.json`` and ``history.csv`` by ``SOURCE_foldK``.
    folds
        ``training/folds.json``.
    models, histories
        ``model.json`` and the rows of ``history.csv`` by ``TASK_foldK``.
    scores, summary
        All of ``evaluation/scores.csv``; ``summary.json``.
    trust
        ``evaluation/trust.json``.
    studies
        The workspace's own study, if there is one, and those that the params name.
    cards, refusals
        ``export/TASK/card.json`` and ``refused.json`` by source.
    excluded
        Rows of every stage's ``excluded.json``, each with its ``stage``.
    units
        ``units.json`` by stage: key and content of each unit.
    """

    folders: Mapping[str, Path] = field(default_factory=dict)
    dataset: Mapping[str, Any] = field(default_factory=dict)
    labels: Mapping[str, Any] = field(default_factory=dict)
    patients: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    cases: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    scan_rows: Sequence[Row] = ()
    registration_rows: Sequence[Row] = ()
    features: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    feature_histories: Mapping[str, Sequence[Row]] = field(default_factory=dict)
    folds: Mapping[str, Any] = field(default_factory=dict)
    models: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    histories: Mapping[str, Sequence[Row]] = field(default_factory=dict)
    scores: Sequence[Score] = ()
    summary: Mapping[str, Any] = field(default_factory=dict)
    trust: Mapping[str, Any] = field(default_factory=dict)
    studies: Sequence[Study] = ()
    cards: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    refusals: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    excluded: Sequence[Mapping[str, str]] = ()
    units: Mapping[str, Mapping[str, Mapping[str, str]]] = field(default_factory=dict)

    def has(self, stage: str) -> bool:
        """Whether the stage has an output."""
        return stage in self.folders

    @property
    def synthetic(self) -> bool:
        """Whether the patients are digital (with known truth)."""
        stored = self.dataset.get("synthetic")
        if stored is not None:
            return bool(stored)
        return bool(self.patients) and all(p.get("synthetic") for p in self.patients.values())


def read_chain(layout: Layout, studies: Sequence[str] = ()) -> Chain:
    """Read the small files of every output; a stage that has not run is missing in the result.

    Raises
    ------
    UsageError
        A study in ``studies`` has not run.
    """
    folders = {name: layout.artefact(name) for name in STAGES if layout.artefact(name).is_dir()}
    here = {name: folders.get(name, Path("absent") / name) for name in STAGES}
    return Chain(
        folders=folders,
        dataset=_json(here["ingestion"] / DATASET),
        labels=_json(here["ingestion"] / LABELS),
        patients=_each(here["ingestion"], PATIENT),
        cases=_cases(here["registration"]),
        scan_rows=_table(here["ingestion"] / QUALITY_TABLE),
        registration_rows=_table(here["registration"] / QUALITY_TABLE),
        features=_each(here["pretraining"], PRETRAINED),
        feature_histories=_histories(here["pretraining"]),
        folds=_json(here["training"] / FOLDS),
        models=_each(here["training"], MODEL),
        histories=_histories(here["training"]),
        scores=_scores(here["evaluation"] / SCORES),
        summary=_json(here["evaluation"] / SUMMARY),
        trust=_json(here["evaluation"] / TRUST),
        studies=_studies(layout, studies),
        cards=_each(here["export"], CARD),
        refusals=_each(here["export"], REFUSED),
        excluded=_excluded(folders),
        units={name: _json(folder / UNIT_KEYS) for name, folder in folders.items()},
    )


def _studies(layout: Layout, names: Sequence[str]) -> list[Study]:
    own = layout.artefact("study")
    found = [_study("", own)] if (own / SUMMARY).is_file() else []
    for name in names:
        folder = study_folder(name)
        if not (folder / SUMMARY).is_file():
            raise UsageError(
                f"the study has not run: there is no {folder / SUMMARY}",
                where=f"report.studies: {name}",
                remedy=f"synthct study --grid presets/{name}.yaml",
                code="study-missing",
            )
        found.append(_study(name, folder))
    return found


def _study(name: str, folder: Path) -> Study:
    tables = (_table(folder / f"{table}.csv") for table in ("effects", "matrix", "bias"))
    return Study(name, _json(folder / SUMMARY), *tables)


def _json(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text())) if path.is_file() else {}


def _table(path: Path) -> list[dict[str, str]]:
    return read_table(path) if path.is_file() else []


def _each(folder: Path, name: str) -> dict[str, dict[str, Any]]:
    return {path.parent.name: _json(path) for path in sorted(folder.glob(f"*/{name}"))}


def _cases(folder: Path) -> dict[str, dict[str, Any]]:
    stored = _each(folder, CASE)
    measured = _each(folder, QUALITY)
    return {name: {**measured.get(name, {}), **case} for name, case in stored.items()}


def _histories(folder: Path) -> dict[str, list[dict[str, str]]]:
    return {path.parent.name: read_table(path) for path in sorted(folder.glob(f"*/{HISTORY}"))}


def _scores(path: Path) -> list[Score]:
    return [Score(**{**row, "value": float(row["value"])}) for row in map(_known, _table(path))]


def _known(row: Row) -> dict[str, Any]:
    return {name: row.get(name, "") for name in Score.__dataclass_fields__}


def _excluded(folders: Mapping[str, Path]) -> list[dict[str, str]]:
    rows: list[dict[str, str]] = []
    for stage, folder in folders.items():
        path = folder / EXCLUDED
        listed = json.loads(path.read_text()) if path.is_file() else []
        rows += [{"stage": stage, **{k: str(v) for k, v in row.items()}} for row in listed]
    return rows
