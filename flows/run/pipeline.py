"""The chain as a Prefect flow: each stage is one Prefect task and one child process group."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Cancelled as CancelledState

from synthct.data.errors import MachineError, SynthctError
from synthct.flows.run.journal import (
    Cancelled,
    Journal,
    at_server,
    flush_senders,
    publish_scores,
    server_lost,
)
from synthct.flows.run.stages import Listener, RunRecord, StageResult, build_stage
from synthct.flows.run.summary import score_rows
from synthct.flows.workspace.project import Project, StageTarget


def run_stages(
    project: Project,
    record: RunRecord,
    environment: dict[str, str],
    screen: Listener,
    *,
    server: str,
) -> list[StageResult]:
    """Run the stages of ``project`` in order, in a Prefect flow; the first failure ends the run.

    DVC decides whether a stage is up to date, so Prefect caches and persists nothing. If the
    Prefect server is lost, the remaining stages run without it.

    Raises
    ------
    MachineError
        ``stage-failed``, ``dvc-killed``, ``cancelled``.
    """
    done: dict[str, StageResult] = {}
    failed: list[SynthctError] = []

    def build(stage: StageTarget) -> StageResult:
        journal = Journal(UUID(flow_run.get_id()))
        try:
            done[stage.name] = build_stage(project, stage, record, environment, [screen, journal])
        except SynthctError as error:
            failed.append(error)
            raise
        return done[stage.name]

    @flow(name="synthct", flow_run_name=record.folder.name, persist_result=False)
    def chain(workspace: str, stages: list[str]) -> list[StageResult] | State:
        try:
            built = [_as_task(build, stage)(stage) for stage in project.stages]
        except Cancelled:
            return CancelledState(message="cancelled in Prefect; finished results are kept")
        publish_scores(score_rows(project))
        return built

    with at_server(server):
        try:
            ended = chain(project.name, [stage.name for stage in project.stages])
        except Exception as error:
            if not server_lost(error):
                raise
            if failed:
                raise failed[0] from error
            return _run_without_prefect(project, record, environment, screen, done)
        finally:
            flush_senders()
    if isinstance(ended, list):
        return ended
    raise MachineError(
        "the run was cancelled in Prefect",
        where=record.folder.name,
        remedy="the same command resumes where it stopped",
        code="cancelled",
    )


def _run_without_prefect(
    project: Project,
    record: RunRecord,
    environment: dict[str, str],
    screen: Listener,
    done: dict[str, StageResult],
) -> list[StageResult]:
    """Run the remaining stages without Prefect, which shows a run but is not needed for it."""
    for stage in project.stages:
        if stage.name not in done:
            screen.output(stage, "the Prefect server does not answer; the run continues without it")
            done[stage.name] = build_stage(project, stage, record, environment, [screen])
    return [done[stage.name] for stage in project.stages]


def _as_task(
    build: Callable[[StageTarget], StageResult], stage: StageTarget
) -> Callable[[StageTarget], StageResult]:
    return task(
        name=stage.name,
        task_run_name=stage.name,
        description=stage.summary,
        cache_policy=NO_CACHE,
        persist_result=False,
    )(build)
