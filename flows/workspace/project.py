"""What one run of the chain is about: a checkout, a workspace in it, the stages to build."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from synthct.data.errors import UsageError

PRIVATE = ".synthct"
"""Folder in the root for what is neither code nor result: the flow's records, the server."""


@dataclass(frozen=True)
class StageTarget:
    """One stage as the flow sees it.

    Parameters
    ----------
    name
        Name of the stage.
    target
        What DVC calls it.
    out
        The folder it writes, relative to the root.
    summary
        What it makes, for people.
    """

    name: str
    target: str
    out: Path
    summary: str = ""


@dataclass(frozen=True)
class Project:
    """Stages of one workspace, in the order in which they are built; paths relative to the root."""

    root: Path
    name: str
    stages: tuple[StageTarget, ...]
    workspace: Path = Path()
    check: Callable[[tuple[StageTarget, ...]], None] = lambda stages: None
    """Told what will be built before anything is started; raises :class:`UsageError`."""

    def stage(self, name: str) -> StageTarget | None:
        """The stage of that name, if it is among the stages to build."""
        return next((stage for stage in self.stages if stage.name == name), None)

    def until(self, name: str | None) -> Project:
        """The chain up to and including a stage (None: all of it)."""
        if name is None:
            return self
        names = [stage.name for stage in self.stages]
        if name not in names:
            raise UsageError(
                "",
                problem=f"this workspace has no stage {name!r}",
                where="--until",
                remedy=f"stages: {', '.join(names)}",
                code="unknown-stage",
            )
        return replace(self, stages=self.stages[: names.index(name) + 1])

    def environment(self) -> dict[str, str]:
        """What every child is given: this Python first on the path, nobody told about it."""
        return {
            **os.environ,
            **QUIET,
            **STEADY,
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
            "PYTHONPATH": str(self.root / "src"),
        }


STEADY = {"MALLOC_MMAP_THRESHOLD_": str(1 << 30), "MALLOC_TRIM_THRESHOLD_": str(1 << 30)}
"""glibc keeps what torch frees: a training step asks for the same tensors again, and giving their
pages back to the kernel and clearing them anew was a tenth of a step on a CPU."""

QUIET = {
    "DO_NOT_TRACK": "1",
    "DVC_NO_ANALYTICS": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
}
"""No tool may call home."""


def find_root(start: Path | None = None) -> Path:
    """The checkout around ``start`` (default: the working directory)."""
    start = (start or Path.cwd()).resolve()
    for folder in (start, *start.parents):
        if (folder / "params.yaml").is_file() and (folder / ".dvc").is_dir():
            return folder
    raise UsageError(
        "this command runs inside a checkout of the repository",
        problem="no params.yaml and .dvc in this folder or above it",
        where=str(start),
        remedy="cd into the checkout",
        code="no-checkout",
    )


def require_own_code(root: Path) -> None:
    """Refuse to build a checkout by code that lies elsewhere: its hash would name the wrong one."""
    from synthct.tasks.pipeline.code import source_root

    if source_root() != root:
        raise UsageError(
            "a checkout is built by its own code, because results are keyed by it",
            problem=f"this command runs code from {source_root()}",
            where=str(root),
            remedy="run `python -m synthct.flows` in the root of the checkout instead of `synthct`",
            code="other-checkout",
        )


def open_checkout(
    preset: str | None, tell: Callable[[str], None], *, file: Path | None = None
) -> Project:
    """The chain of a preset's workspace in the checkout around us; this process works in its root.

    ``tell`` is given what a person should know about the workspace; ``file`` is a preset that lies
    elsewhere.
    """
    from synthct.flows.workspace.presets import open_workspace

    root = find_root()
    require_own_code(root)
    elsewhere = None if file is None else file.resolve()
    os.chdir(root)
    opened = open_workspace(root, preset, file=elsewhere)
    for note in opened.notes:
        tell(note)
    return open_project(root, opened.workspace)


def require_study(project: Project) -> None:
    """Refuse a workspace whose params have no ``study:`` section."""
    if project.stage("study") is None:
        raise UsageError(
            "a study's params have a `study:` section",
            problem="these params have none",
            where=str(project.workspace / "params.yaml"),
            remedy="see presets/study.yaml; `synthct run` runs workspaces without one",
            code="no-study",
        )


def refresh_dag(project: Project, tell: Callable[[str], None]) -> None:
    """Render the workspace's ``dvc.yaml`` anew when the code or the table has moved on."""
    from synthct.tasks.chain.table import stale_dvc_file, write_dvc_file

    if stale_dvc_file(project.workspace):
        write_dvc_file(project.workspace)
        tell(f"rendered {project.workspace / 'dvc.yaml'} anew")


def open_project(root: Path, workspace: Path) -> Project:
    """The chain of a workspace (``.`` is the demo)."""
    from synthct.tasks.chain.params import layout_of, load_params
    from synthct.tasks.chain.table import active_stages

    params = load_params(root / workspace / "params.yaml")
    layout = layout_of(workspace, params)
    stages = tuple(
        StageTarget(
            name=stage.name,
            target=stage.name if layout.is_root else f"{layout.dvc_file.as_posix()}:{stage.name}",
            out=stage.outs(layout),
            summary=stage.summary,
        )
        for stage in active_stages(params)
    )
    if params.cohort is None:
        _require_scans(root, layout.raw)

    def check(planned: tuple[StageTarget, ...]) -> None:
        if any(stage.name == "training" for stage in planned):
            from synthct.tasks.training.check import check as check_training

            # Names and layers must be right before an hour of registration, not after.
            check_training(params.training, where=f"{workspace / 'params.yaml'}: training")

    name = "demo" if layout.is_root else workspace.name
    return Project(root, name, stages, workspace, check)


def _require_scans(root: Path, raw: Path) -> None:
    if (root / raw).is_dir():
        return
    tracked = (root / raw).with_suffix(".dvc").is_file()
    raise UsageError(
        "",
        problem="the scans of the data set are missing",
        where=raw.as_posix(),
        remedy=f"dvc pull {raw.as_posix()}.dvc"
        if tracked
        else f"synthct ingest SRC... --dataset {raw.name}",
        code="scans-missing",
    )
