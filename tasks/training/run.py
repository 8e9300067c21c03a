"""The training stage: folds over patients, one network for each source and fold."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from synthct.data.errors import MachineError
from synthct.data.files import canonical_json, write_whole
from synthct.data.tables import read_table
from synthct.tasks.pipeline.artefacts import CASE, FOLDS, HISTORY, PRETRAINED, WEIGHTS
from synthct.tasks.pipeline.events import emit
from synthct.tasks.pipeline.stage import StageContext, Unit, build_out, run_units
from synthct.tasks.training.cases import ARRAYS
from synthct.tasks.training.check import check
from synthct.tasks.training.comparison import badly_trained
from synthct.tasks.training.folds import CaseFacts, Fold, make_folds
from synthct.tasks.training.launch import train
from synthct.tasks.training.params import Source, TrainingParams
from synthct.tasks.training.plugins import plugin_modules
from synthct.tasks.training.precision import precision_note, settled

STAGE, JOINT = "training", "joint"

UNUSED_BY_A_UNIT = {
    "sources", "folds", "test_patients", "use_suspect", "suspect_weight",
    "smallest_training", "fine_tune", "start_from",
}  # fmt: skip
"""Params that determine the set of units; changing them retrains no unit that remains."""


def run(context: StageContext, params: TrainingParams) -> None:
    """Networks were trained to predict CT from each source in cross-validation over patients.

    Writes ``SOURCE_foldK/`` (``weights.safetensors``, ``model.json``, ``history.csv``) and
    ``folds.json``. With ``fine_tune`` these are the networks of one region, and the joint networks
    from which they continued are in ``joint/``.
    """
    check(params)
    emit("note", stage=STAGE, text=precision_note(params))
    params = settled(params)
    registered = context.artefact("registration")
    folds: dict[str, list[dict[str, Any]]] = {}
    plans, unfit = plans_of(context, params)
    for source in dict.fromkeys(plan.source for plan in plans):
        _note_folds(source, [plan.fold for plan in plans if plan.source == source], params)
    start = context.artefact(params.start_from) if params.start_from else None
    if start is not None:
        plans, missing = _pretrained(start, plans)
        unfit += missing
    joint = [
        _unit(context, registered, plan, params, None if start is None else start / plan.name)
        for plan in plans
    ]
    with build_out(context, STAGE) as out:
        units = joint
        if params.fine_tune is not None:
            (out / JOINT).mkdir()
            good = run_units(context, STAGE, out / JOINT, joint)
            plans, missing = _of_region(plans, params.fine_tune.region)
            unfit += missing
            units = [
                _unit(
                    context,
                    registered,
                    plan,
                    params.tuning(),
                    out / JOINT / plan.name,
                    interpolate=params.fine_tune.interpolate,
                )
                for plan in plans
                if plan.name in good
            ]
        for plan in plans:
            folds.setdefault(plan.source, []).append(plan.fold.as_json())
        write_whole(out / FOLDS, canonical_json(folds))
        good = run_units(context, STAGE, out, units, also_excluded=unfit)
        for sentence in badly_trained({name: read_table(out / name / HISTORY) for name in good}):
            emit("note", stage=STAGE, text=sentence)


@dataclass(frozen=True)
class Plan:
    """One network to train."""

    source: Source
    number: int
    fold: Fold
    cases: Sequence[CaseFacts]

    @property
    def name(self) -> str:
        """Name of its unit."""
        return f"{self.source}_fold{self.number}"

    @property
    def held_out(self) -> set[str]:
        """Patients of its test cases, and of its validation cases unless it trains on them too."""
        sides = [*self.fold.test]
        if self.fold.held_out == "patients":
            sides += self.fold.validation
        return {fact.patient for fact in self.cases if fact.case in sides}


def plans_of(
    context: StageContext, params: TrainingParams
) -> tuple[list[Plan], list[dict[str, str]]]:
    """The networks to train, and an exclusion for each source with too few patients.

    They depend on the registered pairs, the params and the seed alone.
    """
    registered = context.artefact("registration")
    plans: list[Plan] = []
    unfit: list[dict[str, str]] = []
    for source in params.sources:
        cases = usable_cases(registered, source, params)
        if len({fact.patient for fact in cases}) < 2:
            unfit.append(_too_few(source, cases, _verdicts(registered, source)))
            continue
        made = make_folds(
            cases,
            count=params.folds,
            seed=context.seed,
            validation_fraction=params.validation_fraction,
            smallest_training=params.smallest_training,
            test_patients=params.test_patients,
        )
        plans += [Plan(source, number, fold, cases) for number, fold in enumerate(made)]
    return plans, unfit


def _pretrained(folder: Path, plans: Sequence[Plan]) -> tuple[list[Plan], list[dict[str, str]]]:
    """The plans that have weights to start from, and an exclusion for each other.

    Raises
    ------
    MachineError
        ``pretraining-saw-patient``: the weights were trained on scans of a held-out patient.
    """
    kept: list[Plan] = []
    unfit: list[dict[str, str]] = []
    for plan in plans:
        file = folder / plan.name / PRETRAINED
        if not file.is_file():
            unfit.append(_start_absent(plan.name))
            continue
        seen = set(json.loads(file.read_text())["patients"])
        if both := sorted(seen & plan.held_out):
            raise MachineError(
                f"{plan.name} starts from weights that have seen {', '.join(both)}",
                rule="a network never sees scans of the patients that it is validated or tested on",
                where=str(file),
                remedy="run the stage pretraining again",
                code="pretraining-saw-patient",
            )
        kept.append(plan)
    return kept, unfit


def _of_region(plans: Sequence[Plan], region: str) -> tuple[list[Plan], list[dict[str, str]]]:
    """The same folds with the cases of one region, and an exclusion for each without training."""
    kept, unfit = [], []
    for plan in plans:
        there = {fact.case for fact in plan.cases if fact.region == region}
        train, validation, test = (
            tuple(case for case in cases if case in there)
            for cases in (plan.fold.train, plan.fold.validation, plan.fold.test)
        )
        held_out = plan.fold.held_out if validation else "slab"
        if held_out == "slab":
            validation = train
        if train:
            kept.append(replace(plan, fold=Fold(train, validation, test, held_out)))
        else:
            unfit.append(_region_absent(region, plan.name))
    return kept, unfit


def _verdicts(registered: Path, source: Source) -> Counter[str]:
    """Number of registered pairs of the source by verdict of the gate."""
    cases = (json.loads(file.read_text()) for file in registered.glob(f"*_{source}/{CASE}"))
    return Counter(case["verdict"] for case in cases if case["source"] == source)


def usable_cases(registered: Path, source: Source, params: TrainingParams) -> list[CaseFacts]:
    """Registered pairs of the source that passed the gate (with ``use_suspect`` suspect ones)."""
    verdicts = {"pass", "suspect"} if params.use_suspect else {"pass"}
    facts = []
    for file in sorted(registered.glob(f"*_{source}/{CASE}")):
        case = json.loads(file.read_text())
        if case["source"] == source and case["verdict"] in verdicts:
            facts.append(CaseFacts(case["case"], case["patient"], case["region"], case["verdict"]))
    return facts


def _unit(
    context: StageContext,
    registered: Path,
    plan: Plan,
    params: TrainingParams,
    start: Path | None = None,
    *,
    interpolate: bool = False,
) -> Unit:
    source, fold = plan.source, plan.fold
    recipe = params.of_source(source)
    read = sorted({*fold.train, *fold.validation})
    weights = drawing_weights(fold, plan.cases, params)
    inputs = {
        f"{case}/{kind}": registered / case / f"{kind}.zarr" for case in read for kind in ARRAYS
    }
    if start is not None:
        inputs["start"] = start / WEIGHTS
    return Unit(
        name=plan.name,
        function=train,
        inputs=inputs,
        arguments={
            "source": source,
            "fold": plan.number,
            "seed": context.seed,
            "params": params.as_json(exclude=unused_by_a_unit(source)),
            "split": fold.as_json(),
            "regions": {fact.case: fact.region for fact in plan.cases if fact.case in read},
            **({"weights": weights} if weights else {}),
            **({"interpolate": True} if interpolate else {}),
        },
        plugins=plugin_modules(recipe),
        gpu=params.device != "cpu",
        effort=float(recipe.steps * recipe.batch * math.prod(recipe.recipe(source).patch_size)),
    )


def drawing_weights(
    fold: Fold, cases: Sequence[CaseFacts], params: TrainingParams
) -> dict[str, float]:
    """Suspect training cases, and the relative frequency with which they are drawn."""
    doubted = {fact.case for fact in cases if fact.verdict == "suspect"} & set(fold.train)
    return dict.fromkeys(sorted(doubted), params.suspect_weight)


def unused_by_a_unit(source: Source) -> set[str]:
    """Keys of the params that do not affect a network of this source."""
    return UNUSED_BY_A_UNIT | ({"mr", "cbct"} - {source})


def _note_folds(source: Source, made: Sequence[Fold], params: TrainingParams) -> None:
    if len(made) < params.folds:
        text = f"{source}: {len(made)} folds of one patient each: there are no more patients"
        emit("note", stage=STAGE, text=text)
    if any(fold.held_out == "slab" for fold in made):
        why = "too few patients to hold any back"
        text = f"{source}: {why}: validation uses slices of training cases"
        emit("note", stage=STAGE, text=text)


def _too_few(
    source: Source, cases: Sequence[CaseFacts], verdicts: Mapping[str, int]
) -> dict[str, str]:
    patients = len({fact.patient for fact in cases})
    counted = ", ".join(f"{verdicts[one]} {one}" for one in ("pass", "suspect", "fail"))
    suspect = verdicts["suspect"] > 0
    look = "look at registration's quality.csv and pictures"
    return {
        "unit": source,
        "code": "too-few-patients",
        "where": f"training.sources: {source}",
        "problem": f"{sum(verdicts.values())} pairs are registered ({counted}), "
        f"{patients} patients can be used",
        "rule": "training needs registered pairs of at least two patients",
        "remedy": f"{look}; if the suspect pairs are good, set training.use_suspect"
        if suspect
        else f"add patients, {look}, or remove the source",
    }


def _region_absent(region: str, unit: str) -> dict[str, str]:
    return {
        "unit": unit,
        "code": "region-absent",
        "where": f"training.fine_tune.region: {region}",
        "problem": f"no training patient of the fold has the region {region}",
        "rule": "fine-tuning needs training patients of its region in every fold",
        "remedy": "add patients of this region, or train fewer folds",
    }


def _start_absent(unit: str) -> dict[str, str]:
    return {
        "unit": unit,
        "code": "start-absent",
        "where": "training.start_from: pretraining",
        "problem": "the stage pretraining has no weights for this network",
        "rule": "a network that starts from pretraining needs that of its source and fold",
        "remedy": "see pretraining/excluded.json, or leave out training.start_from",
    }
