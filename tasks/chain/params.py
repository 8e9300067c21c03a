"""``params.yaml`` as one frozen value: read once, its errors reported together, never written."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, Field, ValidationError, model_validator

from synthct.data.errors import UsageError, did_you_mean
from synthct.data.layout import Layout
from synthct.data.section import Section
from synthct.data.yaml_text import dump_yaml, load_yaml
from synthct.tasks.cohort.params import CohortParams
from synthct.tasks.evaluation.params import EvaluationParams
from synthct.tasks.export.params import ExportParams
from synthct.tasks.ingestion.params import IngestionParams
from synthct.tasks.pretraining.params import PretrainingParams
from synthct.tasks.reconstruction.params import ReconstructionParams
from synthct.tasks.registration.params import RegistrationParams
from synthct.tasks.report.params import ReportParams
from synthct.tasks.study.params import StudyParams
from synthct.tasks.training.params import TrainingParams


class ComputeParams(Section):
    """Settings of a computation that change its bytes. Where it runs is not a param."""

    threads_per_unit: int = Field(1, ge=1, le=256)
    """Threads of torch, ITK and BLAS in one unit; part of the key of every cached result."""


class Params(Section):
    """Everything a workspace's results depend on besides scans and code."""

    seed: int = Field(20261123, ge=0)
    """All random numbers derive from (seed, stage, case)."""
    dataset: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    """Folder below ``data/raw`` that holds the scans."""
    max_excluded_fraction: float = Field(0.5, ge=0, le=1)
    """A stage fails when more of its cases than this are excluded."""
    compute: ComputeParams = ComputeParams()
    cohort: CohortParams | None = None
    """Digital patients to generate. Null: the scans are real."""
    reconstruction: ReconstructionParams | None = None
    """Reconstruct the CBCTs from stored projections. Null: CBCTs are used as delivered."""
    ingestion: IngestionParams = IngestionParams()
    registration: RegistrationParams = RegistrationParams()
    pretraining: PretrainingParams | None = None
    """Pretraining on unpaired scans, before ``training``. Null: none."""
    training: TrainingParams = TrainingParams()
    evaluation: EvaluationParams = EvaluationParams()
    export: ExportParams = ExportParams()
    report: ReportParams = ReportParams()
    study: StudyParams | None = None
    """A comparison of methods, which replaces the stages from training to report. Null: none."""

    @model_validator(mode="after")
    def _gate_counts_what_is_checked(self) -> Params:
        for name in self.export.gate.checks:
            if name not in self.evaluation.checks:
                hint = did_you_mean(name, self.evaluation.checks)
                raise ValueError(
                    f"export.gate.checks: {name!r} is not in evaluation.checks ({hint})"
                )
        return self

    @model_validator(mode="after")
    def _pretraining_has_a_use(self) -> Params:
        start = self.training.start_from is not None
        if self.study is not None and (start or self.pretraining is not None):
            raise ValueError(
                "study: a study trains from random weights: leave out the section pretraining "
                "and training.start_from"
            )
        if start and self.pretraining is None:
            raise ValueError("training.start_from: pretraining needs a section pretraining")
        if start and self.pretraining is not None and self.pretraining.network is not None:
            raise ValueError(
                "training.start_from: the weights must be those of training.network: leave out "
                "pretraining.network"
            )
        return self


def load_params(path: Path) -> Params:
    """Read and check ``params.yaml``.

    Raises
    ------
    UsageError
        The file is missing, not YAML or not valid; all wrong keys are named at once.
    """
    try:
        text = path.read_text()
    except FileNotFoundError:
        raise UsageError(
            "there is no params.yaml",
            where=str(path),
            remedy="run from the repository's root, or name a workspace that exists",
            code="params-missing",
        ) from None
    except UnicodeDecodeError as error:
        raise UsageError(
            str(error), rule="params are text in UTF-8", where=str(path), code="params-not-yaml"
        ) from error
    return parse_params(text, where=str(path))


def parse_params(text: str, *, where: str) -> Params:
    """Check the text of a ``params.yaml``."""
    try:
        loaded = load_yaml(text) or {}
        document = json.dumps(loaded)
    except (yaml.YAMLError, TypeError) as error:
        raise UsageError(
            f"the file cannot be read as YAML: {error}",
            rule="params are YAML of plain values",
            where=where,
            code="params-not-yaml",
        ) from error
    try:
        # JSON mode: strict about types, yet a YAML list may fill a tuple.
        return Params.model_validate_json(document)
    except ValidationError as error:
        wrong = "; ".join(_described(each) for each in error.errors())
        raise UsageError(
            f"the params are not valid: {wrong}",
            where=where,
            code="params-invalid",
        ) from error


def layout_of(workspace: Path, params: Params) -> Layout:
    """The paths of the workspace's artefacts."""
    return Layout(workspace, params.dataset, own_cohort=params.cohort is not None)


def resolved(params: Params) -> str:
    """All params as YAML, with their defaults."""
    return dump_yaml(params.as_json(), sort_keys=False, width=100, allow_unicode=True)


def _described(error: Any) -> str:
    key = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        return f"{key}: no such key{_did_you_mean(error['loc'])}"
    if error["type"] == "missing":
        return f"{key}: this key is required"
    if error["type"] == "value_error":  # our own validators: they name the value themselves
        return ": ".join(part for part in (key, str(error["ctx"]["error"])) if part)
    return f"{key}: {error['msg']}, got {error.get('input')!r}"


def _did_you_mean(location: tuple[Any, ...]) -> str:
    known = list(_keys_at(Params, location[:-1]))
    return f" ({did_you_mean(str(location[-1]), known, closeness=0.5)})"


def _keys_at(model: type[BaseModel], path: tuple[Any, ...]) -> Iterator[str]:
    if not path:
        yield from model.model_fields
        return
    field = model.model_fields.get(str(path[0]))
    if field is None:  # a list index or a dictionary key: the model stays the same
        yield from _keys_at(model, path[1:])
        return
    yield from (key for inner in _models_in(field.annotation) for key in _keys_at(inner, path[1:]))


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)
