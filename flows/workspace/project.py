"""A project: the checkout, a workspace in it, and the stages to build."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from synthct.data.errors import UsageError

PRIVATE = ".synthct"
"""Folder in the root for run logs and server data, which are neither code nor results."""


@dataclass(frozen=True)
class StageTarget:
    """One stage of a workspace, as a target of DVC.

    Parameters
    ----------
    name
        Name of the stage.
    target
        DVC's name of it, which contains the workspace.
    out
        The folder it writes, relative to the root.
    summary
        One sentence for users: what it makes.
    """

    name: str
    target: str
    out: Path
    summary: str = ""


@dataclass(frozen=True)
class Project:
    """Stages of one workspace, in order of execution; paths are relative to the root."""

    root: Path
    name: str
    stages: tuple[StageTarget, ...]
    workspace: Path = Path()
    check: Callable[[tuple[StageTarget, ...]], None] = lambda stages: None
    """Called with the stages to build before anything starts; may raise :class:`UsageError`."""

    def stage(self, name: str) -> StageTarget | None:
        """The stage of that name, or None."""
        return next((stage for stage in self.stages if stage.name == name), None)

    def until(self, name: str | None) -> Project:
        """The chain up to and including a stage (None: all stages).

        Raises
        ------
        UsageError
            ``unknown-stage``.
        """
        if name is None:
            return self
        names = [stage.name for stage in self.stages]
        require_stage(name, names)
        return replace(self, stages=self.stages[: names.index(name) + 1])

    def environment(self) -> dict[str, str]:
        """Environment of child processes: this Python first on the path, no telemetry."""
        return {
            **os.environ,
            **QUIET,
            **STEADY,
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
            "PYTHONPATH": str(self.root / "src"),
        }


STEADY = {"MALLOC_MMAP_THRESHOLD_": str(1 << 30), "MALLOC_TRIM_THRESHOLD_": str(1 << 30)}
"""Let glibc keep memory that torch frees. Every training step allocates the same tensors again;
returning their pages to the kernel and clearing them took a tenth of a step on a CPU."""

QUIET = {
    "DO_NOT_TRACK": "1",
    "DVC_NO_ANALYTICS": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
}
"""Switches off the telemetry of all tools."""


def find_root(start: Path | None = None) -> Path:
    """The checkout that contains ``start`` (default: the working directory).

    Raises
    ------
    UsageError
        ``no-checkout``.
    """
    start = (start or Path.cwd()).resolve()
    for folder in (start, *start.parents):
        if (folder / "params.yaml").is_file() and (folder / ".dvc").is_dir():
            return folder
    raise UsageError(
        "no params.yaml and .dvc in this folder or above it",
        rule="this command runs inside a checkout of the repository",
        where=str(start),
        remedy="cd into the checkout",
        code="no-checkout",
    )


def require_own_code(root: Path) -> None:
    """Refuse to build a checkout with code from elsewhere: results would be keyed by wrong code.

    Raises
    ------
    UsageError
        ``other-checkout``.
    """
    from synthct.tasks.pipeline.code import source_root

    if source_root() != root:
        raise UsageError(
            f"the command runs another checkout's code, from {source_root()}",
            rule="a checkout is built by its own code, because results are keyed by it",
            where=str(root),
            remedy="run `python -m synthct.flows` in the root of the checkout instead of `synthct`",
            code="other-checkout",
        )


def open_checkout(
    preset: str | None, tell: Callable[[str], None], *, file: Path | None = None
) -> Project:
    """Open the workspace of a preset in the current checkout, and change to the checkout's root.

    ``tell`` is called with notes for the user; ``file`` is a preset outside ``presets/``.

    Raises
    ------
    UsageError
        ``no-checkout``, ``other-checkout``, ``unknown-preset``, ``scans-missing``, wrong params.
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


def require_stage(name: str, names: list[str]) -> None:
    """Refuse the name of a stage that a workspace does not have."""
    if name not in names:
        raise UsageError(
            f"this workspace has no stage {name!r}",
            where="--until",
            remedy=f"stages: {', '.join(names)}",
            code="unknown-stage",
        )


def require_study(project: Project) -> None:
    """Refuse a workspace whose params have no ``study:`` section."""
    if project.stage("study") is None:
        raise _no_study(project.workspace / "params.yaml")


def require_study_in(file: Path) -> None:
    """Refuse a file of params without a ``study:`` section."""
    from synthct.tasks.chain.params import load_params

    if load_params(file).study is None:
        raise _no_study(file)


def _no_study(file: Path) -> UsageError:
    return UsageError(
        "there is no section `study:`",
        rule="a study's params have one",
        where=str(file),
        remedy="see presets/study.yaml; without a study use `synthct run`",
        code="no-study",
    )


def refresh_dag(project: Project, tell: Callable[[str], None]) -> None:
    """Rewrite the workspace's ``dvc.yaml`` if the code or the stage table has changed."""
    from synthct.tasks.chain.table import stale_dvc_file, write_dvc_file

    if stale_dvc_file(project.workspace):
        write_dvc_file(project.workspace)
        tell(f"updated {project.workspace / 'dvc.yaml'}")


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
        if any(stage.name == "cohort" for stage in planned):
            from synthct.tasks.cohort.run import require_own

            require_own(root / layout.raw)
        if params.reconstruction is not None and any(s.name == "reconstruction" for s in planned):
            from synthct.tasks.reconstruction.run import check_plugins

            where = f"{workspace / 'params.yaml'}: reconstruction"
            check_plugins(params.reconstruction, where=where)
        if any(stage.name == "training" for stage in planned):
            from synthct.tasks.training.check import check as check_training

            # Check names and layers now, not after an hour of registration.
            check_training(params.training, where=f"{workspace / 'params.yaml'}: training")
        if params.pretraining is not None and any(s.name == "pretraining" for s in planned):
            from synthct.tasks.pretraining.run import check as check_pretraining

            where = f"{workspace / 'params.yaml'}: pretraining"
            check_pretraining(params.pretraining, params.training, where=where)
        if any(stage.name in ("ingestion", "evaluation") for stage in planned):
            from synthct.tasks.chain.names import check_names

            check_names(params, where=str(workspace / "params.yaml"))

    name = "demo" if layout.is_root else workspace.name
    return Project(root, name, stages, workspace, check)


def _require_scans(root: Path, raw: Path) -> None:
    if (root / raw).is_dir():
        return
    tracked = (root / raw).with_suffix(".dvc").is_file()
    raise UsageError(
        "the scans of the data set are missing",
        where=raw.as_posix(),
        remedy=f"dvc pull {raw.as_posix()}.dvc"
        if tracked
        else f"synthct ingest SRC... --dataset {raw.name}",
        code="scans-missing",
    )
