"""Facts for the model card, gathered from the outputs of the earlier stages."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from synthct.data.files import content_hash
from synthct.tasks.export.gate import Row, summarise
from synthct.tasks.export.params import ExportParams
from synthct.tasks.pipeline.artefacts import CASE, DATASET, SCORES
from synthct.tasks.pipeline.stage import UNIT_KEYS, StageContext

CASE_FACTS = ("patient", "region", "synthetic", "method", "verdict")
"""Keys of ``case.json`` that the card summarises."""


def used_cases(folds: Sequence[Mapping[str, Any]]) -> list[str]:
    """Training, validation and test cases of the folds, sorted."""
    parts = ("train", "validation", "test")
    return sorted({case for fold in folds for part in parts for case in fold.get(part, ())})


def gather_facts(
    context: StageContext,
    params: ExportParams,
    source: str,
    fold_names: Sequence[str],
    cases: Sequence[str],
    scores: Sequence[Row],
    methods: Mapping[str, str],
    code: str,
) -> dict[str, Any]:
    """All facts for the card of one source, as plain JSON that is part of the unit's key."""
    registration = context.artefact("registration")
    dataset = _read(context.artefact("ingestion") / DATASET)
    return {
        "intended_use": params.intended_use,
        "dataset": {key: dataset.get(key) for key in ("dataset", "synthetic", "licence")},
        "cases": [_case_facts(registration / case / CASE) for case in cases],
        "scores": summarise(scores, source),
        "methods": dict(methods),
        "provenance": {
            "code_sha256": code,
            "export_params": params.as_json(),
            "seed": context.seed,
            "inputs": _inputs(context, fold_names, cases),
        },
        "formats": {"release": 1, "onnx_opset": params.opset, "weights": "safetensors"},
    }


def _inputs(
    context: StageContext, fold_names: Sequence[str], cases: Sequence[str]
) -> dict[str, Any]:
    """Content hash and unit key of each fold, and hashes of the other inputs.

    ``unit_keys_sha256`` identifies, by stage, the inputs, params and code of every unit behind the
    release. That is what ``dvc.lock`` pins; the lock itself cannot be used, as it contains the
    hash of this folder. Cases are listed by hash, as their names stay in the pipeline.
    """
    training = context.artefact("training")
    keys = _read(training / UNIT_KEYS)
    folds = {
        name: {
            "content_sha256": content_hash(training / name),
            "unit_key": dict(keys.get(name, {})).get("key", ""),
        }
        for name in fold_names
    }
    stages = {
        stage: content_hash(context.artefact(stage) / UNIT_KEYS)
        for stage in ("ingestion", "registration", "training", "evaluation")
        if (context.artefact(stage) / UNIT_KEYS).is_file()
    }
    registration = sorted(content_hash(context.artefact("registration") / case) for case in cases)
    scores = content_hash(context.artefact("evaluation") / SCORES)
    return {
        "training": folds,
        "registration": registration,
        "evaluation_scores_sha256": scores,
        "unit_keys_sha256": stages,
    }


def _case_facts(file: Path) -> dict[str, Any]:
    document = _read(file)
    return {key: document.get(key) for key in CASE_FACTS}


def _read(file: Path) -> dict[str, Any]:
    return dict(json.loads(file.read_text()))
