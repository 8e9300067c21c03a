"""Distillation of the ensemble into one network (the student), and its loss of accuracy."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthct.data.errors import DataError
from synthct.data.files import whole_folder
from synthct.data.store.volumes import read_volume, write_volume
from synthct.data.volume import Modality
from synthct.tasks.export.fold import ExportedFold, export_fold
from synthct.tasks.export.params import DistilParams, ExportParams
from synthct.tasks.models.description import ModelDescription
from synthct.tasks.models.sliding import Runner, predict
from synthct.tasks.pipeline.artefacts import CASE, CT, MASK, MODEL, SOURCE, WEIGHTS
from synthct.tasks.training.fit import fit
from synthct.tasks.training.params import TrainingParams
from synthct.tasks.training.runner import torch_runner

NAME = "student"
"""Stem of the student's files in the release."""

_ANSWERS, _STUDENT = "taught", "student"
"""Folders in the unit's scratch: predictions of the ensemble, and the student's training."""


@dataclass(frozen=True)
class Distilled:
    """The student, and the scores of student and ensemble.

    Parameters
    ----------
    fold
        The exported student, in every format.
    mae_ensemble_hu, mae_student_hu
        Mean absolute error inside the body against the registered CT of patients unseen by the
        student, mean over cases [HU]. Other folds of the ensemble have seen them, so the loss of
        accuracy is overestimated rather than underestimated.
    """

    fold: ExportedFold
    steps: int
    training_cases: int
    scored_cases: int
    mae_ensemble_hu: float
    mae_student_hu: float

    def as_json(self) -> dict[str, Any]:
        """For the card."""
        return {
            "steps": self.steps,
            "training_cases": self.training_cases,
            "scored_cases": self.scored_cases,
            "mae_ensemble_hu": round(self.mae_ensemble_hu, 2),
            "mae_student_hu": round(self.mae_student_hu, 2),
            "cost_hu": round(self.mae_student_hu - self.mae_ensemble_hu, 2),
            "parity": {form: p.as_json() for form, p in sorted(self.fold.parities.items())},
        }


def distil(
    out: Path,
    folds: Sequence[Path],
    unseen: Sequence[Path],
    seen: Sequence[Path],
    params: ExportParams,
    *,
    scratch: Path,
    seed: int,
) -> Distilled:
    r"""Train one network on the ensemble mean, :math:`\min_s \lVert s(x) - \bar f(x) \rVert_1`.

    It starts from the first fold's weights, for which that fold's test patients were not used, and
    is trained on the registered sources of training patients only; patients of ``unseen`` are left
    out and used for scoring. A killed run resumes when called again with the same ``scratch``.

    Parameters
    ----------
    folds
        Folders of the ensemble's folds in the output of the training stage.
    unseen, seen
        Registered cases: the first fold's test cases, and the training cases of any fold.

    Raises
    ------
    DataError
        No training case of another patient is left.

    References
    ----------
    Hinton, Vinyals & Dean, arXiv:1503.02531 (2015).
    """
    if params.distil is None:
        raise ValueError("distil() needs the params of the distillation")
    model = ModelDescription.load(folds[0] / MODEL)
    cases = _training_cases(unseen, seen)
    ensemble = [torch_runner(fold) for fold in folds]
    answers = [_answer(ensemble, case, model, scratch / _ANSWERS) for case in cases]
    student = scratch / _STUDENT
    if not student.is_dir():
        with whole_folder(student) as building:
            _fit(building, folds[0], cases, answers, model, params.distil, scratch, seed)
    exported = export_fold(out, NAME, student, unseen[0], seen, params)
    scores = [
        (_mae_hu(ensemble, case, model), _mae_hu([torch_runner(student)], case, model))
        for case in unseen
    ]
    means = np.mean(scores, axis=0)
    return Distilled(
        exported, params.distil.steps, len(cases), len(unseen), float(means[0]), float(means[1])
    )


def _training_cases(unseen: Sequence[Path], seen: Sequence[Path]) -> list[Path]:
    """Training cases of patients on whom the student is not scored."""
    held = {_facts(case)["patient"] for case in unseen}
    cases = [case for case in seen if _facts(case)["patient"] not in held]
    if not cases or not unseen:
        raise DataError(
            f"there are {len(cases)} training cases and {len(unseen)} unseen cases to score on",
            rule="a student is trained and scored on different patients",
            where="export.distil",
            remedy="leave out export.distil, or train with more patients than folds",
            code="distil-no-cases",
        )
    return cases


def _facts(case: Path) -> dict[str, Any]:
    return dict(json.loads((case / CASE).read_text()))


def _answer(ensemble: Sequence[Runner], case: Path, model: ModelDescription, folder: Path) -> Path:
    """The ensemble's prediction [HU] as a stored volume, computed once."""
    out = folder / f"{case.name}.zarr"
    if not out.is_dir():
        mask = read_volume(case / MASK)
        hu = predict(ensemble, read_volume(case / SOURCE), mask, model).hu
        with whole_folder(out) as building:
            write_volume(building / CT, mask.with_array(hu, Modality.CT))
    return out / CT


def _fit(
    out: Path,
    start: Path,
    cases: Sequence[Path],
    answers: Sequence[Path],
    model: ModelDescription,
    options: DistilParams,
    scratch: Path,
    seed: int,
) -> None:
    """Train with the ensemble's predictions in place of the CT."""
    names = [f"case{number:03d}" for number in range(len(cases))]
    files: dict[str, Any] = {}
    for name, case, answer in zip(names, cases, answers, strict=True):
        files[f"{name}/source"], files[f"{name}/mask"] = case / SOURCE, case / MASK
        files[f"{name}/ct"] = answer
    (scratch / "fit").mkdir(exist_ok=True)
    fit(
        out=out,
        scratch=scratch / "fit",
        source=model.source,
        fold=model.fold,
        seed=seed,
        params=_recipe(model, options).as_json(),
        split={"train": names, "validation": [], "test": [], "held_out": "slab"},
        regions=dict(zip(names, (_facts(case)["region"] for case in cases), strict=True)),
        start=start / WEIGHTS,
        **files,
    )


def _recipe(model: ModelDescription, options: DistilParams) -> TrainingParams:
    """Training params: network and scaling of the ensemble, the rest from the distillation's."""
    recipe: Mapping[str, Any] = {
        "patch_size": list(model.patch_size),
        "source_scaling": model.source_scaling.as_json(),
    }
    both = dict.fromkeys(("mr", "cbct"), recipe)
    every = max(1, options.steps // 10)
    return TrainingParams.model_validate(
        {
            **both, "network": dict(model.network), "steps": options.steps, "batch": options.batch,
            "flips": list(model.flips), "losses": [{"name": "l1", "weight": 1.0}],
            "target_scaling": model.target_scaling.as_json(),
            "optimizer": {"learning_rate": options.learning_rate, "schedule": "cosine"},
            "validation_every": every, "checkpoint_every": every, "validation_slices": 8,
        },
        strict=False,
    )  # fmt: skip


def _mae_hu(networks: Sequence[Runner], case: Path, model: ModelDescription) -> float:
    source, mask, ct = (read_volume(case / f"{name}.zarr") for name in ("source", "mask", "ct"))
    inside = np.asarray(mask.array) > 0
    hu: NDArray[np.int16] = predict(networks, source, mask, model).hu
    return float(np.abs(hu[inside].astype(np.float64) - ct.array[inside]).mean())
