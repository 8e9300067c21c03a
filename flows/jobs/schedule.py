"""The Prefect flow of all scheduled jobs: a run, a study or a watcher, one per workspace."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect import flow, get_run_logger
from prefect.runtime import flow_run

from synthct.data.environment import RUNS, SERVED_ROOT
from synthct.data.errors import MachineError
from synthct.flows.exits import CLEAN, EXCLUSIONS
from synthct.flows.jobs.scheduled_jobs import (
    DEMO,
    QUARANTINED,
    RUN,
    STUDY,
    WATCH,
    ScheduledJob,
    kept_files,
)
from synthct.flows.jobs.worktree import keep_lock, override, restore, worktree
from synthct.flows.processes.children import SupervisedProcess
from synthct.flows.workspace.project import PRIVATE, QUIET, find_root
from synthct.tasks.pipeline.artefacts import SUMMARY
from synthct.tasks.pipeline.code import source_root

if TYPE_CHECKING:
    from prefect import State

LATEST = "scheduled"
"""``.synthct/scheduled/WORKSPACE/``: report, summary and tables of the newest successful run."""


@flow(name="scheduled", persist_result=False)
def scheduled(
    what: str = RUN,
    preset: str | None = None,
    until: str | None = None,
    cluster: str | None = None,
    workers: int | None = None,
    ref: str = "HEAD",
    overrides: dict[str, Any] | None = None,
    options: dict[str, Any] | None = None,
) -> int | State:
    """Run the chain or a study in a fresh git worktree, or predict the scans in an inbox.

    Parameters
    ----------
    what
        `run`: the chain; `study`: compare regularizers; `watch`: predict scans that have arrived.
    preset
        Workspace; None: the demo, or for a study presets/study.yaml.
    until
        Of a run: stop after this stage.
    cluster, workers
        As for `synthct run`; cluster None: `$SYNTHCT_CLUSTER` of `synthct serve`, else `local`.
    ref
        Commit or branch whose code and params are used (a watcher uses the code of the server).
    overrides
        Params of this run only, by dotted key, e.g. `{"training.mr.steps": 2000}`.
    options
        More options of the command, e.g. of a watcher:
        `{"model": "release/mr", "inbox": "incoming", "out": "predicted", "uncertainty": true}`.
    """
    cluster_options = {} if what == WATCH else {"cluster": cluster, "workers": workers}
    job = ScheduledJob(what, preset, {"until": until, **cluster_options, **(options or {})})
    root = Path(os.environ.get(SERVED_ROOT) or find_root())
    with _only_one(root, job.workspace) as alone:
        if not alone:
            from prefect.states import Cancelled

            return Cancelled(message=f"another run is working on {job.workspace}")
        if what == WATCH:
            return _watch(root, job)
        return _build(root, job, ref, overrides or {}, whole=until is None)


@contextlib.contextmanager
def _only_one(root: Path, workspace: str) -> Iterator[bool]:
    """Lock the workspace for this run; yields False if another run holds it.

    The kernel releases the lock when the process of the run ends, however it ends.
    """
    folder = root / PRIVATE / "serve"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{re.sub(r'[^A-Za-z0-9_-]+', '-', workspace)}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
        else:
            yield True


def _watch(root: Path, job: ScheduledJob) -> int | State:
    """Check the inbox once, in the served checkout, to which release, inbox and outbox refer.

    The outbox publishes results atomically, so a job that is killed is simply repeated.
    """
    code = _run(root, root, source_root(), job.arguments())
    _require_good(job, code)
    if code == EXCLUSIONS:
        from prefect.states import Completed

        where = Path(str(job.options["out"])) / "quarantine"
        return Completed(message=f"{QUARANTINED}: {where}")
    return code


def _build(
    root: Path, job: ScheduledJob, ref: str, overrides: dict[str, Any], *, whole: bool
) -> int | State:
    name, run_name = job.workspace, flow_run.get_name() or "by-hand"
    with worktree(root, f"{name}.{run_name}", ref) as place:
        _apply(place, job, overrides)
        summary = place / PRIVATE / SUMMARY
        summary.parent.mkdir(parents=True, exist_ok=True)
        more = ["--summary", str(summary)] if job.what == RUN else []
        code = _run(root, place, place, [*job.arguments(), *more])
        _require_good(job, code)
        if whole:
            keep_lock(root, place, name, f"Scheduled {job.what} {run_name} of {name}")
            _keep_tables(root, place, name, summary)
    return code


def _require_good(job: ScheduledJob, code: int) -> None:
    if code not in (CLEAN, EXCLUSIONS):
        raise MachineError(
            f"the scheduled {job.what} ended with exit code {code}",
            where=job.workspace,
            remedy="see the log of this run; the next run resumes where it stopped",
            code="scheduled-run-failed",
        )


def _apply(place: Path, job: ScheduledJob, overrides: dict[str, Any]) -> None:
    from synthct.flows.workspace.presets import open_workspace

    name = job.workspace if job.what == STUDY else job.preset
    opened = open_workspace(place, name)
    restore(place, opened.workspace)
    override(place / opened.workspace / "params.yaml", overrides)


def _run(root: Path, folder: Path, code: Path, arguments: list[str]) -> int:
    """Run ``python -m synthct.flows ...`` in ``folder`` with the code of ``code``.

    ``run`` and ``study`` refuse code that was imported from outside their checkout.
    """
    log = get_run_logger()
    environment = {
        **os.environ,
        **QUIET,
        "PYTHONPATH": str(code / "src"),
        RUNS: str(root / PRIVATE / "runs"),
    }
    # The child's flow run is independent of this process's flow run.
    for variable in [name for name in environment if name.startswith("PREFECT__")]:
        del environment[variable]
    command = [sys.executable, "-m", "synthct.flows", *arguments]
    with SupervisedProcess(command, folder=folder, environment=environment) as child:
        for line in child.lines(1.0):
            if line and line.strip():
                log.info("%s", line)
        return child.wait()


def _keep_tables(root: Path, place: Path, name: str, summary: Path) -> None:
    """Copy the newest run's tables, which page and metrics show, out of its worktree."""
    target = root / PRIVATE / LATEST / name
    target.mkdir(parents=True, exist_ok=True)
    base = place / "data" if name == DEMO else place / "workspaces" / name
    for file in kept_files():
        source = base / "artefacts" / file
        if source.is_file():
            (target / file).parent.mkdir(exist_ok=True)
            shutil.copy2(source, target / file)
    if summary.is_file():
        shutil.copy2(summary, target / SUMMARY)
