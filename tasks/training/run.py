"""The training stage: folds over patients, one network for each task and fold."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data.files import canonical_json, write_whole
from tasks.events import emit
from tasks.stage import StageContext, Unit, build_out, run_units
from tasks.training.cases import ARRAYS
from tasks.training.check import check
from tasks.training.fit import fit
from tasks.training.folds import CaseFacts, Fold, make_folds
from tasks.training.params import Task, TrainingParams
from tasks.training.plugins import plugin_modules

STAGE = "training"

UNUSED_BY_A_UNIT = {"tasks", "folds", "use_suspect", "suspect_weight", "smallest_training"}
"""Params that decide which units there are; changing them retrains no unit that stays."""


def run(context: StageContext, params: TrainingParams) -> None:
    """Networks were trained to predict CT from each source in cross-validation over patients.

    Writes ``TASK_foldK/`` (``weights.safetensors``, ``model.json``, ``history.csv``) and
    ``folds.json``.
    """
    check(params)
    registered = context.artefact("registration")
    units: list[Unit] = []
    folds: dict[str, list[dict[str, Any]]] = {}
    unfit: list[dict[str, str]] = []
    for task in params.tasks:
        cases = usable_cases(registered, task, params)
        if len({fact.patient for fact in cases}) < 2:
            unfit.append(_too_few(task, cases))
            continue
        made = make_folds(
            cases,
            count=params.folds,
            seed=context.seed,
            validation_fraction=params.validation_fraction,
            smallest_training=params.smallest_training,
        )
        folds[task] = [fold.as_json() for fold in made]
        _tell(task, made, params)
        units += [
            _unit(context, registered, task, number, fold, cases, params)
            for number, fold in enumerate(made)
        ]
    with build_out(context, STAGE) as out:
        write_whole(out / "folds.json", canonical_json(folds))
        run_units(context, STAGE, out, units, also_excluded=unfit)


def usable_cases(registered: Path, task: Task, params: TrainingParams) -> list[CaseFacts]:
    """Registered pairs of the task that the gate let pass (suspect ones if the params say so)."""
    verdicts = {"pass", "suspect"} if params.use_suspect else {"pass"}
    facts = []
    for file in sorted(registered.glob(f"*_{task}/case.json")):
        case = json.loads(file.read_text())
        if case["task"] == task and case["verdict"] in verdicts:
            facts.append(CaseFacts(case["case"], case["patient"], case["region"], case["verdict"]))
    return facts


def _unit(
    context: StageContext,
    registered: Path,
    task: Task,
    number: int,
    fold: Fold,
    cases: Sequence[CaseFacts],
    params: TrainingParams,
) -> Unit:
    read = sorted({*fold.train, *fold.validation})
    weights = drawing_weights(fold, cases, params)
    return Unit(
        name=f"{task}_fold{number}",
        function=fit,
        inputs={
            f"{case}/{kind}": registered / case / f"{kind}.zarr" for case in read for kind in ARRAYS
        },
        arguments={
            "task": task,
            "fold": number,
            "seed": context.seed,
            "params": params.model_dump(mode="json", exclude=unused_by_a_unit(task)),
            "split": fold.as_json(),
            "regions": {fact.case: fact.region for fact in cases if fact.case in read},
            **({"weights": weights} if weights else {}),
        },
        plugins=plugin_modules(params),
        gpu=params.device != "cpu",
    )


def drawing_weights(
    fold: Fold, cases: Sequence[CaseFacts], params: TrainingParams
) -> dict[str, float]:
    """Suspect training cases and how often they are drawn relative to the others."""
    doubted = {fact.case for fact in cases if fact.verdict == "suspect"} & set(fold.train)
    return dict.fromkeys(sorted(doubted), params.suspect_weight)


def unused_by_a_unit(task: Task) -> set[str]:
    """Keys of the params that change nothing in a network of this task."""
    return UNUSED_BY_A_UNIT | ({"mr", "cbct"} - {task})


def _tell(task: Task, made: Sequence[Fold], params: TrainingParams) -> None:
    if len(made) < params.folds:
        text = f"{task}: {len(made)} folds, one patient each, since there are no more patients"
        emit("note", stage=STAGE, text=text)
    if any(fold.held_out == "slab" for fold in made):
        text = f"{task}: too few patients to hold any back: validated on slices of training cases"
        emit("note", stage=STAGE, text=text)


def _too_few(task: Task, cases: Sequence[CaseFacts]) -> dict[str, str]:
    return {
        "unit": task,
        "code": "too-few-patients",
        "where": f"training.tasks: {task}",
        "rule": "training needs registered pairs of at least two patients",
        "got": f"{len({fact.patient for fact in cases})} patients",
        "remedy": "add patients, look at registration's quality.csv, or take the task out",
    }
