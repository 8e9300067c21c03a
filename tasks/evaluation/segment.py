"""Segmentations of the test cases: a segmenter is trained for each fold, then applied."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from synthct.data.errors import UsageError
from synthct.tasks.evaluation.folds import Fold
from synthct.tasks.evaluation.params import EvaluationParams
from synthct.tasks.evaluation.segmenter.total import identity
from synthct.tasks.pipeline.artefacts import LABELS, MASK, SCT, TRUTH_CT, TRUTH_LABELS
from synthct.tasks.pipeline.randomness import derive_seed
from synthct.tasks.pipeline.stage import StageContext, Unit, run_units

SEGMENTERS, SEGMENTED = "segmenters", "segmented"
"""Sub-folders of the output: the trained segmenters by fold, and the label maps by case."""

IMAGES = ("ct", "truth_ct")
"""References that are segmented like the synthetic CT, if the case has them."""


def segment_cases(
    context: StageContext,
    out: Path,
    folds: Sequence[Fold],
    params: EvaluationParams,
    predicted: Path,
) -> set[str]:
    """Segment the predicted test cases into ``out/segmented``; returns those that succeeded.

    Raises
    ------
    UsageError
        The segmenter is not installed, or there are no label maps to train one.
    """
    kind = params.segmenter
    if kind not in ("small", "totalsegmentator"):
        return set()
    version = identity() if kind == "totalsegmentator" else ""
    trained = _train(context, out, folds, params) if kind == "small" else set()
    units = [
        _segmentation(context, out, fold, case, kind, version, predicted)
        for fold in folds
        for case in fold.test
        if (predicted / case / SCT).exists() and (kind != "small" or fold.name in trained)
    ]
    return set(run_units(context, f"evaluation/{SEGMENTED}", out / SEGMENTED, units))


def _train(
    context: StageContext, out: Path, folds: Sequence[Fold], params: EvaluationParams
) -> set[str]:
    """Train a network for each fold, on the label maps of its own training patients only."""
    # Imports torch: too slow for reading the stage's docstring alone.
    from synthct.tasks.evaluation.segmenter.fit import fit_segmenter

    units = []
    for fold in folds:
        inputs = {"labels": context.artefact("ingestion") / LABELS}
        cases = [case for case in fold.train if _has_anatomy(context, case)]
        for number, case in enumerate(cases):
            folder = context.artefact("registration") / case
            inputs[f"ct_{number}"] = folder / TRUTH_CT
            inputs[f"anatomy_{number}"] = folder / TRUTH_LABELS
            inputs[f"mask_{number}"] = folder / MASK
        arguments = {
            "cases": cases,
            "steps": params.segmenter_steps,
            "width": params.segmenter_width,
            "seed": derive_seed(context.seed, "evaluation", "segmenter", fold.name),
        }
        if cases:
            units.append(Unit(fold.name, fit_segmenter, inputs, arguments, gpu=True))
    if not units:
        raise UsageError(
            "the data set has no label maps",
            rule="the small segmenter is trained on label maps of the training patients' CTs",
            where="evaluation.segmenter",
            remedy="set `labels` in the dataset.json of the data set, or choose thresholds or "
            "totalsegmentator",
            code="segmenter-no-labels",
        )
    return set(run_units(context, f"evaluation/{SEGMENTERS}", out / SEGMENTERS, units))


def _has_anatomy(context: StageContext, case: str) -> bool:
    folder = context.artefact("registration") / case
    return all((folder / f"truth_{part}.zarr").exists() for part in ("ct", "labels"))


def _segmentation(
    context: StageContext,
    out: Path,
    fold: Fold,
    case: str,
    kind: str,
    version: str,
    predicted: Path,
) -> Unit:
    from synthct.tasks.evaluation.segmenter.unit import segment_case

    folder = context.artefact("registration") / case
    inputs = {name: folder / f"{name}.zarr" for name in IMAGES}
    inputs = {name: path for name, path in inputs.items() if path.exists()}
    inputs |= {"sct": predicted / case / SCT, "mask": folder / MASK}
    if kind == "small":
        inputs["model"] = out / SEGMENTERS / fold.name
        if _has_anatomy(context, case):
            inputs["truth_labels"] = folder / TRUTH_LABELS
            inputs["labels"] = context.artefact("ingestion") / LABELS
    return Unit(case, segment_case, inputs, {"segmenter": kind, "identity": version})
