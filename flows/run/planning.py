"""What a run would do: stages out of date and the time of training, without writing anything."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synthct.flows.workspace.freshness import to_build
from synthct.flows.workspace.presets import WORKSPACES, params_of
from synthct.flows.workspace.project import find_root, open_project, require_own_code, require_stage

if TYPE_CHECKING:
    from synthct.tasks.training.probe import Probed


@dataclass(frozen=True)
class Plan:
    """Stages that a run would build, by name with what each makes, and the forecast of training."""

    name: str
    stages: Mapping[str, str]
    training: tuple[Probed, ...]

    def as_json(self) -> dict[str, Any]:
        """Plain JSON."""
        training = [{**each.as_json(), "sentence": each.sentence()} for each in self.training]
        return {"workspace": self.name, "stages": dict(self.stages), "training": training}


def plan(
    preset: str | None, until: str | None, *, file: Path | None = None, workers: int | None = None
) -> Plan:
    """The stages that are out of date, or all of them where the workspace is not there yet.

    ``file`` is a preset outside ``presets/``. A workspace whose ``dvc.yaml`` was rendered by other
    code is planned as if nothing had run: which stages that code changes is known only when it is
    rendered again, which a plan does not do.

    Raises
    ------
    UsageError
        ``no-checkout``, ``other-checkout``, ``unknown-preset``, ``unknown-stage``,
        ``scans-missing``, wrong params.
    """
    from synthct.tasks.chain.params import load_params
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
    training: tuple[Probed, ...] = ()
    if "training" in stages:
        at_once = workers or os.cpu_count() or 1
        sources = params.training.sources
        training = tuple(probe(params.training, source, at_once) for source in sources)
    return Plan(preset or "demo", stages, training)
