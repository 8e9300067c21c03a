"""Trustworthiness of the scores: checks, coverage, calibration, out-of-domain scans, floor."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from synthct.data.tables import floats_to_six_digits, six_digits
from synthct.tasks.evaluation.fitting import FEATURES
from synthct.tasks.evaluation.folds import Fold
from synthct.tasks.evaluation.params import EvaluationParams
from synthct.tasks.evaluation.stability import stability
from synthct.tasks.evaluation.uncertainty.conformal import MIN_PATIENTS
from synthct.tasks.evaluation.uncertainty.coverage import held_out_coverage
from synthct.tasks.evaluation.uncertainty.elsewhere import Scored, elsewhere
from synthct.tasks.evaluation.uncertainty.histogram import ErrorCounts
from synthct.tasks.evaluation.uncertainty.likeness import (
    Features,
    TrainingScans,
    feature_deviations,
)
from synthct.tasks.evaluation.uncertainty.recalibration import observed_levels, recalibrated
from synthct.tasks.pipeline.artefacts import ERRORS
from synthct.tasks.pipeline.randomness import generator

SCHEMA = "synthct-trust/1"

Document = Mapping[str, Any]


def trust(
    documents: Sequence[Document],
    out: Path,
    fits: Path,
    folds: Sequence[Fold],
    params: EvaluationParams,
    seed: int,
    floor: Mapping[str, Any],
) -> dict[str, Any]:
    """Content of ``trust.json``.

    Parameters
    ----------
    documents
        ``scores.json`` of every scored case; ``out`` holds their ``errors.json``.
    fits
        Folder with the features of every training case.
    floor
        Case to the difference of its reference between alignments.
    """
    sources = sorted({document["source"] for document in documents})
    return {
        "schema": SCHEMA,
        "suspects": _suspects(documents),
        "unlike": _unlike(documents, fits, folds),
        "floor": dict(floor),
        "stability": {
            source: found
            for source in sources
            if (
                found := stability(
                    [d.get("stability", {}) for d in documents if d["source"] == source]
                )
            )
        },
        "uncertainty": {
            source: _uncertainty([d for d in documents if d["source"] == source], out, params, seed)
            for source in sources
        },
    }


def _suspects(documents: Sequence[Document]) -> list[dict[str, Any]]:
    return [
        {"case": document["case"], **found}
        for document in documents
        for found in document["checks"]
        if found["suspect"]
    ]


def _unlike(documents: Sequence[Document], fits: Path, folds: Sequence[Fold]) -> dict[str, Any]:
    """Case to its distance from the scans that its own network was trained on."""
    # A fold's test cases share its training scans: each file is read once, not once a pair.
    read: dict[str, Features | None] = {}
    known: dict[str, TrainingScans | None] = {}
    for fold in folds:
        for name in fold.train:
            if name not in read:
                file = fits / name / FEATURES
                read[name] = json.loads(file.read_text()) if file.is_file() else None
        found = TrainingScans.of([one for name in fold.train if (one := read[name]) is not None])
        known |= dict.fromkeys(fold.test, found)
    return {
        document["case"]: feature_deviations(document["features"], known[document["case"]])
        for document in documents
    }


def _uncertainty(
    documents: Sequence[Document], out: Path, params: EvaluationParams, seed: int
) -> dict[str, Any]:
    """By reference: coverage of intervals held out by patient, calibration and retention."""
    facts = {d["case"]: json.loads((out / d["case"] / ERRORS).read_text()) for d in documents}
    references = sorted({name for errors in facts.values() for name in errors})
    return {
        reference: _against(
            [d for d in documents if reference in facts[d["case"]]],
            {case: errors[reference] for case, errors in facts.items() if reference in errors},
            params,
            seed,
        )
        for reference in references
    }


def _against(
    documents: Sequence[Document],
    facts: Mapping[str, Any],
    params: EvaluationParams,
    seed: int,
) -> dict[str, Any]:
    result: dict[str, Any] = {"nominal": params.coverage, "guarantee": params.guarantee}
    result["coverage"] = _coverage(documents, facts, "absolute", params, seed)
    result["by_region"] = {
        region: _coverage([d for d in documents if d["region"] == region], facts, "absolute",
                          params, seed)
        for region in sorted({d["region"] for d in documents})
    }  # fmt: skip
    result["elsewhere"] = elsewhere(
        [
            Scored(
                d["patient"],
                d["region"],
                d["features"],
                ErrorCounts.from_json(facts[d["case"]]["absolute"]),
            )
            for d in documents
        ],
        params.coverage,
    )
    scaled = [ErrorCounts.from_json(f["scaled"]) for f in facts.values() if "scaled" in f]
    if scaled:
        result["scaled_coverage"] = _coverage(documents, facts, "scaled", params, seed)
        result["calibration"] = {
            "observed": _rounded(observed_levels(scaled)),
            "factor": _rounded(recalibrated(scaled)),
        }
        curves = np.array([f["retention"] for f in facts.values() if "retention" in f])
        result["retention"] = _rounded(curves.mean(axis=0).tolist())
        gains = [f["retention_gain"] for f in facts.values() if f.get("retention_gain") is not None]
        result["retention_gain"] = six_digits(np.mean(gains)) if gains else None
    return result


def _coverage(
    documents: Sequence[Document],
    facts: Mapping[str, Any],
    kind: str,
    params: EvaluationParams,
    seed: int,
) -> dict[str, Any]:
    patients: dict[str, list[ErrorCounts]] = {}
    for document in documents:
        errors = facts[document["case"]]
        if kind in errors:
            counts = ErrorCounts.from_json(errors[kind])
            patients.setdefault(document["patient"], []).append(counts)
    if len(patients) < MIN_PATIENTS:
        return {}
    rng = generator(seed, "evaluation", "coverage", kind)
    found = held_out_coverage(patients, params.coverage, rng, guarantee=params.guarantee)
    return {
        name: {key: floats_to_six_digits(value) for key, value in one.as_json().items()}
        for name, one in found.items()
    }


def _rounded(points: Sequence[Sequence[float]]) -> list[list[float]]:
    return [[six_digits(value) for value in point] for point in points]
