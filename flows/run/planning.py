"""Dry run: stages that are out of date, their time, memory and disk; nothing is written."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synthct.flows.run.expected import Expected, expected
from synthct.flows.workspace.freshness import to_build
from synthct.flows.workspace.presets import WORKSPACES, params_of
from synthct.flows.workspace.project import find_root, open_project, require_own_code, require_stage
from synthct.tasks.pipeline.artefacts import DATASET

if TYPE_CHECKING:
    from synthct.tasks.chain.params import Params
    from synthct.tasks.training.params import Source
    from synthct.tasks.training.probe import Probed


@dataclass(frozen=True)
class Plan:
    """Stages that a run would build, with what each makes, and their time, memory and disk."""

    name: str
    stages: Mapping[str, str]
    training: tuple[Probed, ...]
    expected: Expected | None = None
    missing: str = ""
    """Folder of the data set if it is missing; then nothing is known about its cases."""

    def as_json(self) -> dict[str, Any]:
        """Values for JSON."""
        training = [{**each.as_json(), "sentence": each.sentence()} for each in self.training]
        told = {"workspace": self.name, "stages": dict(self.stages), "training": training}
        forecast = self.expected.as_json() if self.expected else None
        return told | {"expected": forecast, "missing": self.missing}


def plan(
    preset: str | None, until: str | None, *, file: Path | None = None, workers: int | None = None
) -> Plan:
    """The stages that are out of date, or all of them where the workspace is not there yet.

    ``file`` is a preset outside ``presets/``. A workspace whose ``dvc.yaml`` was rendered by other
    code is planned as if nothing had run. Which stages the new code affects is known only after
    rendering, and a plan writes nothing.

    Raises
    ------
    UsageError
        ``no-checkout``, ``other-checkout``, ``unknown-preset``, ``unknown-stage``,
        ``scans-missing``, wrong params.
    """
    from synthct.tasks.chain.params import layout_of, load_params
    from synthct.tasks.chain.table import active_stages, stale_dvc_file
    from synthct.tasks.training.probe import probe

    root, elsewhere = find_root(), None if file is None else file.resolve()
    require_own_code(root)
    os.chdir(root)
    workspace = Path() if preset is None else WORKSPACES / preset
    exists = (root / workspace / "params.yaml").is_file()
    params = params_of(root, preset) if exists or elsewhere is None else load_params(elsewhere)
    if exists and not stale_dvc_file(workspace):
        project = open_project(root, workspace).until(until)
        stages = {stage.name: stage.summary for stage in to_build(project)}
    else:
        stages = {stage.name: stage.summary for stage in active_stages(params)}
        if until is not None:
            require_stage(until, list(stages))
            names = list(stages)[: list(stages).index(until) + 1]
            stages = {name: stages[name] for name in names}
    at_once = workers or os.cpu_count() or 1
    training: tuple[Probed, ...] = ()
    if not stages.keys().isdisjoint(("training", "study")):
        training = tuple(probe(params.training, each, at_once) for each in _sources(params))
        if params.study is not None:
            training = tuple(_of_study(params, each, at_once) for each in training)
    if not stages:
        return Plan(preset or "demo", stages, training)
    raw = root / layout_of(workspace, params).raw
    name = preset or "demo"
    if params.cohort is None and not (raw / DATASET).is_file():
        return Plan(name, stages, training, missing=layout_of(workspace, params).raw.as_posix())
    forecast = expected(root, name, params, raw, list(stages), training, at_once)
    return Plan(name, stages, training, forecast)


def _sources(params: Params) -> tuple[Source, ...]:
    return (params.study.source,) if params.study is not None else params.training.sources


def _of_study(params: Params, probed: Probed, at_once: int) -> Probed:
    """The same step for every trial: each arm, fold and seed trains a network."""
    from synthct.tasks.study.plan import jobs

    assert params.study is not None
    count = sum(1 for _ in jobs(params.study, probed.networks))
    return replace(probed, networks=count, workers=max(1, min(at_once, count)))
