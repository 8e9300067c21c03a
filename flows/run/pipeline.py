"""The chain as a Prefect flow: one Prefect task = one stage = one child process group."""

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
    publish_scores,
    send_the_rest,
    server_lost,
)
from synthct.flows.run.stages import Built, Listener, Record, build_stage
from synthct.flows.run.summary import score_rows
from synthct.flows.workspace.project import Project, Step


def conduct(
    project: Project,
    record: Record,
    environment: dict[str, str],
    screen: Listener,
    *,
    server: str,
) -> list[Built]:
    """Build the stages of ``project`` in order; the first that fails ends the run.

    Whether a stage is up to date is DVC's to say, so Prefect caches and persists nothing.
    """
    done: dict[str, Built] = {}
    failed: list[SynthctError] = []

    def build(step: Step) -> Built:
        journal = Journal(UUID(flow_run.get_id()))
        try:
            done[step.name] = build_stage(project, step, record, environment, [screen, journal])
        except SynthctError as fault:
            failed.append(fault)
            raise
        return done[step.name]

    @flow(name="synthct", flow_run_name=record.folder.name, persist_result=False)
    def chain(workspace: str, stages: list[str]) -> list[Built] | State:
        try:
            built = [_as_task(build, step)(step) for step in project.steps]
        except Cancelled:
            return CancelledState(message="cancelled in Prefect; finished units are kept")
        publish_scores(score_rows(project))
        return built

    with at_server(server):
        try:
            ended = chain(project.name, [step.name for step in project.steps])
        except Exception as error:
            if not server_lost(error):
                raise
            if failed:
                raise failed[0] from error
            return _go_on(project, record, environment, screen, done)
        finally:
            send_the_rest()
    if isinstance(ended, list):
        return ended
    raise MachineError(
        "the run goes on to its end",
        where=record.folder.name,
        problem="it was cancelled in Prefect",
        remedy="the same command goes on where it stopped",
        code="cancelled",
    )


def _go_on(
    project: Project,
    record: Record,
    environment: dict[str, str],
    screen: Listener,
    done: dict[str, Built],
) -> list[Built]:
    """Build what is left without Prefect: it shows a run, it is not needed for one."""
    for step in project.steps:
        if step.name not in done:
            screen.said(step, "the Prefect server is lost; the run goes on without it")
            done[step.name] = build_stage(project, step, record, environment, [screen])
    return [done[step.name] for step in project.steps]


def _as_task(build: Callable[[Step], Built], step: Step) -> Callable[[Step], Built]:
    return task(
        name=step.name,
        task_run_name=step.name,
        description=step.summary,
        cache_policy=NO_CACHE,
        persist_result=False,
    )(build)
