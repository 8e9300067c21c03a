"""The scheduled flow: one run of the chain in a worktree of its own."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger
from prefect.runtime import flow_run

from data.faults import MachineFault
from flows.processes import Kept
from flows.project import PRIVATE, QUIET, find_root
from flows.running import RUNS
from flows.serve.worktree import keep_lock, override, restore, worktree

ROOT = "SYNTHCT_SERVED_ROOT"
"""The checkout that is served; unset: the one around the working directory."""

LATEST = "scheduled"
"""``.synthct/scheduled/WORKSPACE/``: page, summary and tables of the newest good run."""

_KEPT = {
    "ingestion": ("quality.csv",),
    "registration": ("quality.csv",),
    "evaluation": ("scores.csv",),
    "report": ("index.html",),
}


@flow(name="scheduled", persist_result=False)
def scheduled(
    preset: str | None = None,
    until: str | None = None,
    cluster: str = "local",
    workers: int | None = None,
    ref: str = "HEAD",
    overrides: dict[str, Any] | None = None,
) -> int:
    """Bring a workspace up to date in a fresh worktree, by the code of that worktree.

    Parameters
    ----------
    preset
        Workspace; None is the demo.
    until
        Stop after this stage.
    cluster, workers
        As for `synthct run`.
    ref
        Commit or branch whose code and params run.
    overrides
        Params of this run alone by dotted key, e.g. `{"training.mr.steps": 2000}`.
    """
    root = Path(os.environ.get(ROOT) or find_root())
    name = preset or "demo"
    told = flow_run.get_name() or "by-hand"
    with worktree(root, f"{name}.{told}", ref) as place:
        arguments = _arguments(preset, until, cluster, workers)
        _apply(place, preset, overrides or {})
        summary = place / PRIVATE / "summary.json"
        summary.parent.mkdir(parents=True, exist_ok=True)
        code = _run(root, place, [*arguments, "--summary", str(summary)])
        if code not in (0, 3):
            raise MachineFault(
                "the scheduled run ends well",
                where=name,
                got=f"exit code {code}",
                remedy="its last lines above say why; the next run goes on where it stopped",
                code="scheduled-run-failed",
            )
        if until is None:
            keep_lock(root, place, name, f"Scheduled run {told} of {name}")
            _keep_tables(root, place, name, summary)
    return code


def _arguments(
    preset: str | None, until: str | None, cluster: str, workers: int | None
) -> list[str]:
    given = {"--preset": preset, "--until": until, "--cluster": cluster, "--workers": workers}
    return [
        text for name, value in given.items() if value is not None for text in (name, str(value))
    ]


def _apply(place: Path, preset: str | None, overrides: dict[str, Any]) -> None:
    from flows.workspaces import open_workspace

    opened = open_workspace(place, preset)
    restore(place, opened.workspace)
    override(place / opened.workspace / "params.yaml", overrides)


def _run(root: Path, place: Path, arguments: list[str]) -> int:
    """``python -m flows run`` with the worktree as its folder and the only source of our code.

    ``flows.commands.chain`` refuses to run when the code it imported lies elsewhere.
    """
    log = get_run_logger()
    environment = {
        **os.environ,
        **QUIET,
        "PYTHONPATH": str(place),
        RUNS: str(root / PRIVATE / "runs"),
    }
    # The run below is a flow run of its own, not a part of this process's.
    for variable in [name for name in environment if name.startswith("PREFECT__")]:
        del environment[variable]
    environment.pop("PYTHONSAFEPATH", None)
    command = [sys.executable, "-m", "flows", "run", *arguments]
    with Kept(command, folder=place, environment=environment) as child:
        for line in child.lines(1.0):
            if line and line.strip():
                log.info("%s", line)
        return child.wait()


def _keep_tables(root: Path, place: Path, name: str, summary: Path) -> None:
    """What pages and metrics show of the newest run, beside the root's own artefacts."""
    target = root / PRIVATE / LATEST / name
    target.mkdir(parents=True, exist_ok=True)
    base = place / "data" if name == "demo" else place / "workspaces" / name
    for stage, files in _KEPT.items():
        for file in files:
            source = base / "artefacts" / stage / file
            if source.is_file():
                (target / stage).mkdir(exist_ok=True)
                shutil.copy2(source, target / stage / file)
    if summary.is_file():
        shutil.copy2(summary, target / "summary.json")
