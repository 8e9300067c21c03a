"""One run of the chain: find stale stages, start server and cluster, run, and stop both."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from synthct.data.environment import EVENTS, GPU_UNITS, RUNS, SCHEDULER, TLS
from synthct.data.files import canonical_json, write_whole
from synthct.data.store.cache_lock import shared_lock
from synthct.data.store.result_cache import open_result_cache
from synthct.flows.clusters.activity import watched
from synthct.flows.clusters.opening import Cluster, check_answers, check_kind, open_cluster
from synthct.flows.processes.children import environment
from synthct.flows.run.prefect_server import prefect_server
from synthct.flows.run.screen import open_screen
from synthct.flows.run.stages import RunRecord, StageResult
from synthct.flows.workspace.freshness import to_build
from synthct.flows.workspace.project import PRIVATE, QUIET, STEADY, Project

if TYPE_CHECKING:
    from rich.console import Console

_KEPT_RECORDS = 50
"""Number of runs whose events and output are kept; older ones are removed by the next run."""

_SILENT = {"PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL"}
"""Prefect's console lines would break the progress bars; they are in its UI and the run's log."""


@dataclass(frozen=True)
class RunOptions:
    """Where a run is computed. Not part of ``params.yaml``, because it must not affect results.

    Parameters
    ----------
    cluster
        ``here``, ``local``, ``gpu``, ``slurm``, ``kubernetes`` or the address of a scheduler.
    workers
        Processes of a ``local`` or ``gpu`` cluster; None: one per core.
    port
        Port of the Prefect server on loopback; None: a free one.
    """

    cluster: str = "local"
    workers: int | None = None
    port: int | None = None


def run_project(project: Project, options: RunOptions, console: Console) -> list[StageResult]:
    """Run all stale stages; returns an empty list, without starting anything, if there are none.

    Parameters
    ----------
    project
        Workspace to bring up to date.
    options
        Cluster, workers and port.
    console
        Where progress is shown.

    Raises
    ------
    UsageError
        The params are wrong or the cluster is unknown; nothing was started.
    MachineError
        No scheduler answers, a stage failed or was killed, or server or cluster did not start.
    """
    check_kind(options.cluster)
    stages = to_build(project)
    if not stages:
        check_answers(options.cluster)
        return []
    project.check(stages)
    work = dataclasses.replace(project, stages=stages)
    record = new_record(project.root, project.name)
    console.print(
        f"to build: {', '.join(stage.name for stage in stages)}; log: {_shown(record, project)}",
        highlight=False,
        soft_wrap=True,
    )
    with (
        shared_lock(open_result_cache().place()),
        _server_and_cluster(work, options, record) as (server, cluster),
    ):
        _print_links(console, server, cluster)
        from synthct.flows.run.pipeline import run_stages

        variables = project.environment() | {EVENTS: str(record.events)}
        if cluster.scheduler:
            variables[SCHEDULER] = cluster.scheduler
        if cluster.certificates:
            variables[TLS] = str(cluster.certificates)
        if cluster.gpus:
            variables[GPU_UNITS] = "1"
        with open_screen(console) as screen, watched(cluster, record.folder):
            return run_stages(work, record, variables, screen, server=server)


@contextlib.contextmanager
def _server_and_cluster(
    project: Project, options: RunOptions, record: RunRecord
) -> Iterator[tuple[str, Cluster]]:
    """Start server and cluster in parallel, since each takes seconds."""
    home = project.root / PRIVATE / "prefect"
    with contextlib.ExitStack() as stack:
        stack.enter_context(environment(QUIET | STEADY | _SILENT))
        clusters: list[Cluster] = []

        def start_cluster() -> None:
            variables = {str(EVENTS): str(record.events)}
            cluster = open_cluster(
                options.cluster, workers=options.workers, root=project.root, variables=variables
            )
            clusters.append(stack.enter_context(cluster))
            import synthct.flows.run.pipeline  # noqa: F401 - Prefect's import takes a second; the server starts meanwhile

        server = stack.enter_context(
            prefect_server(home, port=options.port, meanwhile=start_cluster)
        )
        yield server, clusters[0]


RUN = "run.json"
"""In the folder of a run: the name of its workspace."""


def runs_folder(root: Path) -> Path:
    """The folder with a folder for each of the latest runs."""
    return Path(os.environ.get(RUNS) or root / PRIVATE / "runs")


def new_record(root: Path, name: str = "") -> RunRecord:
    """Create the folder for the events and output of a run; the oldest ones are removed.

    ``name``: that of the workspace.
    """
    runs = runs_folder(root)
    runs.mkdir(parents=True, exist_ok=True)
    for old in sorted(path for path in runs.iterdir() if path.is_dir())[:-_KEPT_RECORDS]:
        shutil.rmtree(old, ignore_errors=True)
    folder = runs / f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
    folder.mkdir()
    (folder / "events.jsonl").touch()
    write_whole(folder / RUN, canonical_json({"workspace": name}))
    return RunRecord(folder)


def _print_links(console: Console, server: str, cluster: Cluster) -> None:
    pages = [f"runs {server.removesuffix('/api')}"]
    pages += [f"workers {cluster.dashboard}"] if cluster.dashboard else []
    console.print(f"watch: {', '.join(pages)}", highlight=False, soft_wrap=True)


def _shown(record: RunRecord, project: Project) -> str:
    inside = record.folder.is_relative_to(project.root)
    return (record.folder.relative_to(project.root) if inside else record.folder).as_posix()
