"""The unit of the export: all folds of one source as a release folder, or the refusal."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from synthct.data.errors import DataError, SynthctError
from synthct.data.files import canonical_json, write_whole
from synthct.data.store.volumes import read_volume
from synthct.tasks.export.bundle import write_bundle
from synthct.tasks.export.card import make_card, render_card
from synthct.tasks.export.distil import Distilled, distil
from synthct.tasks.export.fold import ExportedFold, export_fold
from synthct.tasks.export.form_cost import choices
from synthct.tasks.export.intervals import CalibrationPlan, calibrated, card_entry
from synthct.tasks.export.params import ExportParams
from synthct.tasks.export.parity import check_parity
from synthct.tasks.ingestion.params import IngestionParams
from synthct.tasks.models.description import ModelDescription, SourceScaling
from synthct.tasks.pipeline.artefacts import CARD, CARD_PAGE, MASK, MODEL, REFUSED, SOURCE
from synthct.tasks.prediction.checksums import write_checksums
from synthct.tasks.prediction.domain import Domain, TrainedBody, fingerprint
from synthct.tasks.prediction.intervals import CALIBRATION, Calibration
from synthct.tasks.prediction.release import DOMAIN, ReleaseDescription
from synthct.tasks.transport.laws import Law, mean_law


def release_source(
    *,
    out: Path,
    source: str,
    params: Mapping[str, Any],
    facts: Mapping[str, Any],
    ingestion: Mapping[str, Any],
    refusal: Mapping[str, str] | None,
    seed: int = 0,
    calibration: Mapping[str, Any] | None = None,
    scratch: Path | None = None,
    **folders: Path,
) -> None:
    """Write the release of one source into ``out``, or ``refused.json`` alone.

    Parameters
    ----------
    source
        ``mr`` or ``cbct``.
    params
        The export section as JSON.
    facts
        Facts for the card (see ``tasks/export/card_facts.py``).
    ingestion
        Params of the ingestion of the training scans, as JSON.
    refusal
        The gate's error, if it refused; then nothing is exported, or a demonstration.
    seed, scratch
        Seed of the student that ``distil`` trains, and the folder in which it resumes.
    calibration
        Plan of the intervals (see ``tasks/export/intervals.py``); None: none can be made.
    folders
        ``foldK``: folder of that fold in the output of the training stage; ``caseK``: a registered
        case unseen by this fold's network, for parity; ``seenN``: training cases, whose appearance
        is summarised for the out-of-domain warning of ``predict``; ``heldN``: test cases of the
        first fold, on which the student of ``distil`` is scored; ``errorsN``: errors of unseen
        cases, from which the intervals are calibrated.
    """
    settings = ExportParams.from_json(params)
    if refusal is not None and settings.gate.when_refused == "withhold":
        write_whole(out / REFUSED, canonical_json(dict(refusal)))
        return
    names = sorted(name for name in folders if name.startswith("fold"))
    seen = [folders[name] for name in sorted(folders) if name.startswith("seen")]
    models = [ModelDescription.load(folders[name] / MODEL) for name in names]
    error = _disagreement(source, models)
    folds: list[ExportedFold] = []
    if error is None:
        for name in names:
            unseen = folders[name.replace("fold", "case")]
            folds.append(export_fold(out, name, folders[name], unseen, seen, settings))
        error = _parity_error(source, folds, settings)
    student = None
    if error is None and settings.distil is not None:
        held = [folders[name] for name in sorted(folders) if name.startswith("held")]
        own = [folders[name] for name in names]
        student = distil(out, own, held, seen, settings, scratch=_required(scratch), seed=seed)
        error = _parity_error(f"{source}, student", [student.fold], settings)
    if error is not None:
        _refuse(out, error)
        return
    checked = IngestionParams.from_json(ingestion)
    description = _description(folds, student, checked)
    domain = _domain(seen, description.preprocessing)
    write_whole(out / MODEL, description.as_text())
    write_whole(out / DOMAIN, canonical_json(domain.as_json()))
    card = make_card(source, folds, facts, cleared_for=settings.cleared_for, refusal=refusal)
    intervals = _intervals(calibration, folders)
    if intervals is not None:
        write_whole(out / CALIBRATION, canonical_json(intervals.as_json()))
        card["intervals"] = card_entry(intervals)
    if student is not None:
        card["distilled"] = student.as_json()
    write_whole(out / CARD, canonical_json(card))
    write_whole(out / CARD_PAGE, render_card(card))
    write_bundle(out, description, card)
    write_checksums(out)


def _intervals(plan: Mapping[str, Any] | None, folders: Mapping[str, Path]) -> Calibration | None:
    if plan is None:
        return None
    names = [name for name in folders if name.startswith("errors")]
    # By number, as the patients of the plan: errors1000 comes after errors999.
    errors = [folders[name] for name in sorted(names, key=lambda name: (len(name), name))]
    return calibrated(CalibrationPlan.from_json(plan), errors)


def _required(scratch: Path | None) -> Path:
    if scratch is None:
        raise ValueError("distillation needs a scratch folder to resume from")
    return scratch


def _parity_error(
    source: str, folds: Sequence[ExportedFold], params: ExportParams
) -> SynthctError | None:
    """Error of the first format that differs too much from the trained network."""
    for form in sorted({form for fold in folds for form in fold.parities}):
        found = [fold.parities[form] for fold in folds if form in fold.parities]
        error = check_parity(f"{source}, {form}", found, params.parity)
        if error is not None:
            return error
    return None


def _description(
    folds: Sequence[ExportedFold], student: Distilled | None, ingestion: IngestionParams
) -> ReleaseDescription:
    scaling = _mean_scaling([fold.model.source_scaling for fold in folds])
    every = all(fold.int8_bytes for fold in folds)
    chosen = choices(
        [{name: form.cost for name, form in fold.forms.items()} for fold in folds],
        [fold.int8_bytes for fold in folds] if every else [],
    )
    return ReleaseDescription(
        fast=chosen.get("fast"),
        small=chosen.get("small"),
        source=folds[0].model.source,
        members=[fold.member for fold in folds],
        student=None if student is None else student.fold.member,
        preprocessing=_without_cases(folds[0].model).model_copy(update={"source_scaling": scaling}),
        ingestion=ingestion,
    )


def _mean_scaling(scalings: Sequence[SourceScaling]) -> SourceScaling:
    """The folds' scaling; they harmonise to laws of their own training scans, which are averaged.

    A scan is prepared once for all networks.
    """
    laws = [one.harmonise.law for one in scalings if one.harmonise and one.harmonise.law]
    if not laws:
        return scalings[0]
    return _with_law(scalings[0], mean_law(laws))


def _with_law(scaling: SourceScaling, law: Law | None) -> SourceScaling:
    if scaling.harmonise is None:
        return scaling
    harmonise = scaling.harmonise.model_copy(update={"law": law})
    return scaling.model_copy(update={"harmonise": harmonise})


def _domain(seen: Sequence[Path], model: ModelDescription) -> Domain:
    scans = [(read_volume(case / SOURCE), read_volume(case / MASK)) for case in seen]
    scaling = model.source_scaling
    reference = TrainedBody.of(scans, scaling)
    prints = [fingerprint(source, mask, scaling, reference) for source, mask in scans]
    return Domain.of(prints, reference)


def _without_cases(model: ModelDescription) -> ModelDescription:
    empty: dict[str, Any] = {"train_cases": [], "validation_cases": [], "test_cases": []}
    return model.model_copy(update=empty)


_SHARED = (
    "dimensions", "slices", "patch_size", "divisor", "spacing_mm", "margin_mm", "source_scaling",
    "target_scaling", "flips", "outside_hu",
)  # fmt: skip
"""Settings that all folds of an ensemble must share, because a scan is prepared once for all."""


def _disagreement(source: str, models: list[ModelDescription]) -> SynthctError | None:
    if not models:
        raise DataError(
            "there is no trained fold",
            rule="a release needs at least one trained fold",
            where=source,
            remedy="see training/excluded.json for the reason",
            code="no-folds",
        )
    for model in models[1:]:
        for name in _SHARED:
            first, other = (_without_law(getattr(one, name)) for one in (models[0], model))
            if first != other:
                return SynthctError(
                    f"the folds prepare a scan differently: {other} and {first}",
                    rule="all folds of a release prepare a scan in the same way",
                    where=f"{source} fold {model.fold}, {name}",
                    remedy="train all folds with the same params",
                    code="folds-disagree",
                )
    return None


def _without_law(setting: Any) -> Any:
    """The setting without the law that each fold takes from its own training scans."""
    return _with_law(setting, None) if isinstance(setting, SourceScaling) else setting


def _refuse(out: Path, error: SynthctError) -> None:
    for path in out.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    write_whole(out / REFUSED, canonical_json(error.as_json()))
