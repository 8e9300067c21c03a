"""From the study's params to its units: the grid of trials and the inputs of each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from synthct.tasks.evaluation.metrics import METRICS
from synthct.tasks.pipeline.artefacts import MASK
from synthct.tasks.pipeline.randomness import derive_seed
from synthct.tasks.pipeline.stage import Unit
from synthct.tasks.study.choose import Job
from synthct.tasks.study.misalign import misalign
from synthct.tasks.study.params import CONTROL, REPLICATE, Arm, Pairs, StudyParams, is_replicate
from synthct.tasks.study.price import price
from synthct.tasks.study.trial import trial
from synthct.tasks.training.folds import CaseFacts, Fold
from synthct.tasks.training.params import Source, TrainingParams
from synthct.tasks.training.plugins import plugin_modules
from synthct.tasks.training.run import drawing_weights, unused_by_a_unit

Aligned = Mapping[str, Mapping[str, Path]]
"""``{alignment or pairs: {case: stored CT}}``."""


@dataclass(frozen=True)
class TrialData:
    """Data shared by all trials.

    Parameters
    ----------
    registered
        Output of the registration stage: sources and masks.
    targets
        Training targets of each set of pairs, ``{pairs: {case: stored CT}}``.
    references
        References of the test cases, ``{reference: {case: stored CT}}``.
    """

    registered: Path
    cases: Sequence[CaseFacts]
    folds: Sequence[Fold]
    targets: Aligned
    references: Aligned
    seed: int


def arms_of(params: StudyParams) -> list[Arm]:
    """The control first, then its replicates, then the arms."""
    again = [Arm(name=f"{REPLICATE}{number}") for number in range(1, params.replicates + 1)]
    return [Arm(name=CONTROL), *again, *params.arms]


def recipe(training: TrainingParams, arm: Arm, weight: float | None) -> TrainingParams:
    """The workspace's training params, with the changes of the arm."""
    added = list(arm.regularizers)
    if weight is not None:
        added[-1] = added[-1].model_copy(update={"weight": weight})
    changes: dict[str, Any] = {"regularizers": (*training.regularizers, *added)}
    changes |= {"network": arm.network} if arm.network else {}
    changes |= {"losses": arm.losses} if arm.losses else {}
    own: dict[str, Any] = {}
    own |= {"patch_size": arm.patch_size} if arm.patch_size else {}
    own |= {"source_scaling": arm.source_scaling} if arm.source_scaling else {}
    if own:
        changes |= {
            source: training.recipe(source).model_copy(update=own) for source in get_args(Source)
        }
    return training.model_copy(update=changes)


def jobs(params: StudyParams, folds: int) -> Iterator[Job]:
    """The whole grid."""
    for pairs in params.pairs:
        for arm in arms_of(params):
            for weight in arm.weights or (None,):
                for fold in range(folds):
                    for seed in params.seeds:
                        yield Job(arm.name, pairs.name, weight, fold, seed)


def misaligned_units(data: TrialData, pairs: Pairs, aligned: Mapping[str, Path]) -> Iterator[Unit]:
    """One unit per case; the displacement depends on seed, case and amount only."""
    for fact in data.cases:
        if fact.case in aligned:
            yield Unit(
                name=fact.case,
                function=misalign,
                inputs={
                    "ct": aligned[fact.case],
                    "mask": data.registered / fact.case / MASK,
                },
                arguments={
                    "mean_mm": pairs.misregistration_mm,
                    "seed": data.seed,
                    "case": fact.case,
                },
            )


def trial_unit(data: TrialData, params: StudyParams, training: TrainingParams, job: Job) -> Unit:
    """The unit of one trial."""
    fold, chosen = data.folds[job.fold], _recipe_of(params, training, job)
    scored = [case for case in fold.test if _scorable(data, case)]
    inputs = {**_learned(data, fold, job.pairs)}
    for case in scored:
        folder = data.registered / case
        inputs |= {f"{case}/{kind}": folder / f"{kind}.zarr" for kind in ("source", "mask")}
        inputs |= {f"{case}/{name}": stored[case] for name, stored in data.references.items()}
    fitting = {
        **_shared(data, params, chosen, fold, scored),
        "fold": job.fold,
        "seed": _seed(data, job),
    }
    if weights := drawing_weights(fold, data.cases, training):
        fitting["weights"] = weights
    arguments: dict[str, Any] = {
        "fitting": fitting,
        "references": list(data.references),
        "metrics": list(params.metrics),
    }
    if params.outcomes:
        arguments |= {"outcomes": list(params.outcomes), "noise_seed": data.seed}
    if "wrong_hu" in params.outcomes:
        reference, stored = next(iter(data.references.items()))
        arguments["learned_from"] = again = _learned_from(data, job.fold)
        inputs |= {f"{case}/{reference}": stored[case] for case in again}
    metrics = tuple(METRICS.module_of(name) for name in params.metrics)
    return Unit(job.name, trial, inputs, arguments, (*plugin_modules(chosen), *metrics))


def price_unit(data: TrialData, params: StudyParams, training: TrainingParams, arm: Arm) -> Unit:
    """The unit that counts the arithmetic of one arm, on the first fold of the first pairs."""
    job = Job(arm.name, params.pairs[0].name, (arm.weights or (None,))[0], 0, params.seeds[0])
    chosen = _recipe_of(params, training, job)
    arguments: dict[str, Any] = {
        **_shared(data, params, chosen, data.folds[0], data.folds[0].test),
        "seed": _seed(data, job),
    }
    inputs = _learned(data, data.folds[0], job.pairs)
    return Unit(arm.name, price, inputs, arguments, plugin_modules(chosen))


def _seed(data: TrialData, job: Job) -> int:
    """An arm has the control's initial weights and patches; a replicate has its own."""
    names = (job.arm, str(job.seed)) if is_replicate(job.arm) else (str(job.seed),)
    return derive_seed(data.seed, "study", *names)


def _learned_from(data: TrialData, fold: int) -> list[str]:
    """The test cases of the next fold that this one trains on, so that each counts once."""
    later = data.folds[(fold + 1) % len(data.folds)]
    return [c for c in later.test if c in data.folds[fold].train and _scorable(data, c)]


def _recipe_of(params: StudyParams, training: TrainingParams, job: Job) -> TrainingParams:
    arm = next(arm for arm in arms_of(params) if arm.name == job.arm)
    return recipe(training, arm, job.weight)


def _shared(
    data: TrialData,
    params: StudyParams,
    training: TrainingParams,
    fold: Fold,
    test: Sequence[str],
) -> dict[str, Any]:
    seen = {*fold.train, *fold.validation}
    return {
        "source": params.source,
        "params": training.as_json(exclude=unused_by_a_unit(params.source)),
        "split": {**fold.as_json(), "test": list(test)},
        "regions": {fact.case: fact.region for fact in data.cases if fact.case in seen},
    }


def _learned(data: TrialData, fold: Fold, pairs: str) -> dict[str, Path]:
    inputs: dict[str, Path] = {}
    for case in sorted({*fold.train, *fold.validation}):
        folder = data.registered / case
        inputs |= {f"{case}/{kind}": folder / f"{kind}.zarr" for kind in ("source", "mask")}
        inputs[f"{case}/ct"] = data.targets[pairs][case]
    return inputs


def _scorable(data: TrialData, case: str) -> bool:
    return all(case in stored for stored in data.references.values())
