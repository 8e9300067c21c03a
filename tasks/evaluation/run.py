"""The evaluation stage: scores of unseen patients and of naive baselines, by reference."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from synthct.data.files import canonical_json, write_whole
from synthct.data.tables import write_table
from synthct.tasks.evaluation.baselines import BASELINES
from synthct.tasks.evaluation.checks import CHECKS
from synthct.tasks.evaluation.fitting import baselines_for, fit_fold, sum_case
from synthct.tasks.evaluation.folds import (
    Fold,
    check_scans_unseen,
    description_of,
    is_trained,
    read_folds,
    without_network,
)
from synthct.tasks.evaluation.metrics import METRICS
from synthct.tasks.evaluation.params import EvaluationParams
from synthct.tasks.evaluation.predict import predict_case
from synthct.tasks.evaluation.profiles import profile_called
from synthct.tasks.evaluation.realign import measure_floor
from synthct.tasks.evaluation.score import CASE_SCORES, score_case
from synthct.tasks.evaluation.segment import SEGMENTED, segment_cases
from synthct.tasks.evaluation.summary import COLUMNS, floor_rows, long_rows, summarise
from synthct.tasks.evaluation.trust import trust
from synthct.tasks.models.normalise import scaling_modules
from synthct.tasks.models.scalings import SCALINGS
from synthct.tasks.pipeline.artefacts import CASE, LABELS, SCORES, SCT, SCT_SD, SUMMARY, TRUST
from synthct.tasks.pipeline.stage import EXCLUDED, StageContext, Unit, build_out, run_units

FITS = "fits"
"""Sub-folder of the output with the sums that the baselines are fitted to."""

PREDICTED = "predicted"
"""Sub-folder with the predictions, which are units of their own; scoring copies them."""

NOT_SCORING = {
    "baselines", "bootstrap_draws", "tta", "coverage", "guarantee", "floor", "segmenter_steps",
    "segmenter_width",
}  # fmt: skip
"""Params that do not affect the scores of a case: changing them must not score it again."""


def run(context: StageContext, params: EvaluationParams) -> None:
    """Synthetic CTs of unseen patients and naive baselines are scored inside the body mask."""
    profile = profile_called(params.profile)
    training = context.artefact("training")
    with build_out(context, "evaluation") as out:
        every = read_folds(training)
        check_scans_unseen(context.artefact("registration"), every)
        folds = [fold for fold in every if is_trained(training, fold)]
        fits = _fit(context, out / FITS, folds, params)
        write_whole(out / "baselines.json", canonical_json(fits))
        predicted = _predict(context, out / PREDICTED, folds, params)
        segmented = segment_cases(context, out, folds, params, out / PREDICTED)
        units = [
            unit
            for fold in folds
            for unit in _score_units(context, out, fold, fits[fold.name], params)
            if unit.name in predicted
        ]
        excluded = [
            *_excluded(out, (FITS, PREDICTED, *([SEGMENTED] if segmented else []))),
            *without_network(training, every),
        ]
        good = run_units(context, "evaluation", out, units, also_excluded=excluded)
        documents = [json.loads((out / name / CASE_SCORES).read_text()) for name in good]
        floor = measure_floor(context, out, good, params.floor)
        write_table(out / SCORES, COLUMNS, [*long_rows(documents), *floor_rows(documents, floor)])
        summary = summarise(
            documents, profile=profile.as_json(), seed=context.seed, draws=params.bootstrap_draws
        )
        write_whole(out / SUMMARY, canonical_json(summary))
        trusted = trust(documents, out, out / FITS, folds, params, context.seed, floor)
        write_whole(out / TRUST, canonical_json(trusted))


def _excluded(out: Path, parts: Sequence[str]) -> list[Mapping[str, Any]]:
    """Exclusions of the stage's parts; a case that two of them exclude is listed once."""
    rows = [row for part in parts for row in json.loads((out / part / EXCLUDED).read_text())]
    return list({(row["unit"], row["code"]): row for row in rows}.values())


def _fit(
    context: StageContext, out: Path, folds: Sequence[Fold], params: EvaluationParams
) -> dict[str, dict[str, Any]]:
    """Every fold's baselines, fitted to its training patients alone."""
    names = list(params.baselines)
    units: dict[str, Unit] = {}
    for fold in folds:
        scaling = description_of(context.artefact("training"), fold).source_scaling.kind
        for case in fold.train:
            units[case] = _sums_unit(context, case, fold.source, scaling, names)
    good = set(run_units(context, f"evaluation/{FITS}", out, list(units.values())))
    return {
        fold.name: {
            name: dict(fitted)
            for name, fitted in fit_fold(
                out, [case for case in fold.train if case in good], fold.source, names
            ).items()
        }
        for fold in folds
    }


def _predict(
    context: StageContext, out: Path, folds: Sequence[Fold], params: EvaluationParams
) -> set[str]:
    """Predict every fold's test cases with its network; returns those that succeeded."""
    # Imports torch: too slow for reading the docstring of `run` alone.
    from synthct.tasks.models.networks import NETWORKS

    units = []
    for fold in folds:
        model = context.artefact("training") / fold.name
        description = description_of(context.artefact("training"), fold)
        plugins = (
            NETWORKS.module_of(description.network["name"]),
            *scaling_modules(description.source_scaling),
        )
        for case in fold.test:
            folder = context.artefact("registration") / case
            inputs = {name: folder / f"{name}.zarr" for name in ("source", "mask")}
            inputs["model"] = model
            units.append(Unit(case, predict_case, inputs, {"tta": params.tta}, plugins))
    return set(run_units(context, f"evaluation/{PREDICTED}", out, units))


def _sums_unit(
    context: StageContext, case: str, source: str, scaling: str, names: Sequence[str]
) -> Unit:
    folder = context.artefact("registration") / case
    here = sorted(baselines_for(source, names))
    return Unit(
        name=case,
        function=sum_case,
        inputs={name: folder / f"{name}.zarr" for name in ("source", "mask", "ct")},
        arguments={"modality": source, "scaling": scaling, "baselines": here},
        plugins=(SCALINGS.module_of(scaling), *(BASELINES.module_of(name) for name in here)),
    )


def _score_units(
    context: StageContext,
    out: Path,
    fold: Fold,
    fits: Mapping[str, Any],
    params: EvaluationParams,
) -> list[Unit]:
    scaling = description_of(context.artefact("training"), fold).source_scaling.kind
    plugins = (
        SCALINGS.module_of(scaling),
        *(METRICS.module_of(name) for name in params.metrics),
        *(CHECKS.module_of(name) for name in params.checks),
        *(BASELINES.module_of(name) for name in fits),
    )
    arguments = {
        "fold": fold.number,
        "scaling": scaling,
        "fits": dict(fits),
        "plan": params.as_json(exclude=NOT_SCORING),
    }
    return [
        Unit(case, score_case, _inputs(context, out, case), arguments, plugins)
        for case in fold.test
    ]


def _inputs(context: StageContext, out: Path, case: str) -> dict[str, Path]:
    folder = context.artefact("registration") / case
    volumes = ("source", "mask", "ct", "unregistered_ct", "truth_ct", "truth_labels")
    inputs = {
        name: folder / f"{name}.zarr" for name in volumes if (folder / f"{name}.zarr").exists()
    }
    labels = context.artefact("ingestion") / LABELS
    if "truth_labels" in inputs and labels.is_file():
        inputs["labels"] = labels
    if (spread := out / PREDICTED / case / SCT_SD).exists():
        inputs["sd"] = spread
    if (found := out / SEGMENTED / case).is_dir():
        inputs["segmented"] = found
    return {**inputs, "case": folder / CASE, "sct": out / PREDICTED / case / SCT}
