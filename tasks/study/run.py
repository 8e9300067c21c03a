"""The study stage: regularizers compared on the same pairs, folds, seeds and steps."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from synthct.data.errors import DataError, UsageError
from synthct.data.files import canonical_json, write_whole
from synthct.data.tables import write_table
from synthct.tasks.evaluation.profiles import HU_BANDS
from synthct.tasks.evaluation.statistics.ranking import higher_is_better
from synthct.tasks.pipeline.artefacts import BIAS, EFFECTS, MATRIX, OUTCOMES, PAGE, SUMMARY
from synthct.tasks.pipeline.events import emit
from synthct.tasks.pipeline.stage import EXCLUDED, StageContext, build_out, run_units
from synthct.tasks.registration.params import RegistrationParams
from synthct.tasks.study.alignments import OWN, align, check_alignments
from synthct.tasks.study.choose import Job, Trial, chosen
from synthct.tasks.study.effects import Effect, effects
from synthct.tasks.study.matrix import biases, matrix
from synthct.tasks.study.page import Findings, page
from synthct.tasks.study.params import StudyParams
from synthct.tasks.study.plan import (
    TrialData,
    arms_of,
    jobs,
    misaligned_units,
    price_unit,
    recipe,
    trial_unit,
)
from synthct.tasks.study.price import PRICE
from synthct.tasks.study.trial import TRIAL
from synthct.tasks.training.check import check as check_training
from synthct.tasks.training.folds import make_folds
from synthct.tasks.training.params import TrainingParams
from synthct.tasks.training.precision import precision_note, settled
from synthct.tasks.training.run import usable_cases

STAGE = "study"

SIGNED = ("me_hu", *(f"me_hu_{band}" for band in HU_BANDS))
"""Metrics of which neither more nor less is better; ``bias_hu`` is their outcome."""


def run(context: StageContext, params: StudyParams) -> None:
    """Regularizers were compared on the same pairs, folds, seeds and steps; strengths were chosen on validation patients, effects are paired differences on test patients with bootstrap intervals over patients and training runs and Holm-corrected Wilcoxon tests; differences within those of replicates of the control are not counted."""  # noqa: E501
    training = context.section("training", TrainingParams)
    check(training, params)
    emit("note", stage=STAGE, text=precision_note(training))
    training = settled(training)
    with build_out(context, STAGE) as out:
        data = _ground(context, out, training, params)
        grid = list(jobs(params, len(data.folds)))
        units = [trial_unit(data, params, training, job) for job in grid]
        good = set(run_units(context, f"{STAGE}/trials", out / "trials", units))
        prices = _prices(context, out, data, training, params)
        trials = [_trial(out / "trials" / job.name, job) for job in grid if job.name in good]
        _write(context, out, params, chosen(trials), trials, prices, data)
        write_whole(out / EXCLUDED, canonical_json(_excluded(out)))


def check(training: TrainingParams, params: StudyParams) -> None:
    """Report the errors of all arms together, before any work.

    Raises
    ------
    UsageError
        An alignment is unknown, or the training params of an arm are invalid.
    """
    check_alignments(params.alignments)
    errors: list[str] = []
    for arm in arms_of(params):
        for weight in arm.weights or (None,):
            where = f"study arm {arm.name}" + (f", weight {weight:g}" if weight else "")
            try:
                check_training(recipe(training, arm, weight), where=where)
            except UsageError as error:
                errors.append(str(error))
    if errors:
        raise UsageError(
            "; ".join(errors),
            where="params.yaml: study",
            code="study-params",
        )


def _ground(
    context: StageContext, out: Path, training: TrainingParams, params: StudyParams
) -> TrialData:
    registered = context.artefact("registration")
    references = align(
        context,
        out,
        params.alignments,
        params.source,
        context.section("registration", RegistrationParams),
    )
    needed = {each.alignment for each in params.pairs}
    cases = [
        fact
        for fact in usable_cases(registered, params.source, training)
        if all(fact.case in references[name] for name in needed)
    ]
    if len({fact.patient for fact in cases}) < 2:
        raise DataError(
            f"there are {len(cases)} usable pairs of {params.source}",
            rule="a study needs pairs of at least two patients for every alignment it trains on",
            where=f"study: {', '.join(sorted(needed))}",
            remedy="see registration/quality.csv; `truth` exists for digital patients only",
            code="too-few-patients",
        )
    folds = make_folds(
        cases,
        count=training.folds,
        seed=context.seed,
        validation_fraction=training.validation_fraction,
        smallest_training=training.smallest_training,
        test_patients=training.test_patients,
    )
    scored = {name: references[name] for name in params.score_on}
    data = TrialData(registered, cases, folds, {}, scored, context.seed)
    targets = {
        each.name: _targets(context, out, params, each.name, references[each.alignment], data)
        for each in params.pairs
    }
    return TrialData(registered, cases, folds, targets, scored, context.seed)


def _targets(
    context: StageContext,
    out: Path,
    params: StudyParams,
    name: str,
    aligned: dict[str, Path],
    data: TrialData,
) -> dict[str, Path]:
    """Training targets of these pairs: as aligned, or deliberately misaligned."""
    pairs = next(each for each in params.pairs if each.name == name)
    if pairs.misregistration_mm == 0:
        return aligned
    folder = out / "misaligned" / name
    units = list(misaligned_units(data, pairs, aligned))
    good = run_units(context, f"{STAGE}/misaligned/{name}", folder, units)
    return {case: folder / case / OWN["registered"] for case in good}


def _prices(
    context: StageContext,
    out: Path,
    data: TrialData,
    training: TrainingParams,
    params: StudyParams,
) -> dict[str, float]:
    """Arithmetic per step of each arm, relative to the control."""
    arms = arms_of(params)
    units = [price_unit(data, params, training, arm) for arm in arms]
    good = run_units(context, f"{STAGE}/prices", out / "prices", units)
    flops = {
        name: json.loads((out / "prices" / name / PRICE).read_text())["flops_per_step"]
        for name in good
    }
    control = flops.get(arms[0].name)
    return {name: value / control for name, value in flops.items()} if control else {}


def _excluded(out: Path) -> list[dict[str, Any]]:
    """Exclusions of all parts of the stage, each unit prefixed with its part."""
    return [
        {**row, "unit": f"{file.parent.relative_to(out).as_posix()}/{row['unit']}"}
        for file in sorted(out.rglob(EXCLUDED))
        for row in json.loads(file.read_text())
    ]


def _trial(folder: Path, job: Job) -> Trial:
    document = json.loads((folder / TRIAL).read_text())
    return Trial(job, document["validation_mae_hu"], tuple(document["scores"]))


def _write(
    context: StageContext,
    out: Path,
    params: StudyParams,
    kept: Sequence[Trial],
    trials: Sequence[Trial],
    prices: dict[str, float],
    data: TrialData,
) -> None:
    metric, reference = params.metrics[0], params.score_on[0]
    found, others = _effects(context, params, kept)
    cells = matrix(kept, references=params.score_on, metric=metric)
    alignment_of = {
        each.name: each.alignment if each.misregistration_mm == 0 else "" for each in params.pairs
    }
    tilted = biases(
        kept, alignment_of=alignment_of, references=params.score_on, metric=metric,
        seed=context.seed, draws=params.draws,
    )  # fmt: skip
    rows = [{**asdict(e), "flops_ratio": prices.get(e.arm)} for e in found]
    for name, table in (
        (EFFECTS, rows),
        (OUTCOMES, [asdict(each) for each in others]),
        (MATRIX, [asdict(cell) for cell in cells]),
        (BIAS, [asdict(bias) for bias in tilted]),
        ("trials.csv", list(_trial_rows(trials, kept))),
    ):
        if table:
            write_table(out / name, list(table[0]), table)
    summary = {
        "metric": metric, "reference": reference, "source": params.source,
        "patients": len({fact.patient for fact in data.cases}), "folds": len(data.folds),
        "seeds": len(params.seeds), "replicates": params.replicates,
        "significance": params.significance,
        "promises": {arm.name: arm.promise for arm in params.arms if arm.promise},
        "arms": [arm.name for arm in params.arms], "pairs": [p.name for p in params.pairs],
    }  # fmt: skip
    write_whole(out / SUMMARY, canonical_json(summary))
    write_whole(out / PAGE, page(Findings(summary, found, others, prices, cells, tilted, params)))


def _effects(
    context: StageContext, params: StudyParams, kept: Sequence[Trial]
) -> tuple[list[Effect], list[Effect]]:
    """Effects on the first metric, and on every other number that was measured."""
    reference = params.score_on[0]
    names = dict.fromkeys(
        row["metric"] for t in kept for row in t.scores if row["reference"] == reference
    )
    found = {
        name: effects(
            kept,
            reference=reference,
            metric=name,
            lower_is_better=not higher_is_better(name),
            seed=context.seed,
            draws=params.draws,
        )
        for name in names
        if name not in SIGNED
    }
    first = found.pop(params.metrics[0], [])
    return first, [effect for rows in found.values() for effect in rows]


def _trial_rows(trials: Sequence[Trial], kept: Sequence[Trial]) -> Iterator[dict[str, Any]]:
    names = {trial.job.name for trial in kept}
    for trial in trials:
        job = trial.job
        for score in trial.scores:
            yield {
                **asdict(job),
                "chosen": int(job.name in names),
                "validation_mae_hu": trial.validation_mae_hu,
                **score,
            }
