"""The chain as a Prefect flow: one Prefect task = one stage = one child process group."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

import httpx
from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Cancelled as CancelledState

from synthct.data.errors import MachineError
from synthct.flows.run.journal import Cancelled, Journal, publish_scores, send_the_rest
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

    def build(step: Step) -> Built:
        journal = Journal(UUID(flow_run.get_id()))
        return build_stage(project, step, record, environment, [screen, journal])

    @flow(name="synthct", flow_run_name=record.folder.name, persist_result=False)
    def chain(workspace: str, stages: list[str]) -> list[Built] | State:
        try:
            built = [_as_task(build, step)(step) for step in project.steps]
        except Cancelled:
            return CancelledState(message="cancelled in Prefect; finished units are kept")
        publish_scores(score_rows(project))
        return built

    with temporary_settings({PREFECT_API_URL: server}):
        try:
            ended = chain(project.name, [step.name for step in project.steps])
        except httpx.HTTPError as error:
            raise _server_lost(server, error) from error
        finally:
            send_the_rest()
    if isinstance(ended, list):
        return ended
    raise MachineError(
        "the run goes on to its end",
        where=record.folder.name,
        got="cancelled in Prefect",
        remedy="the same command goes on where it stopped",
        code="cancelled",
    )


def _server_lost(server: str, error: Exception) -> MachineError:
    return MachineError(
        "the Prefect server answers while the chain runs",
        where=server,
        got=f"{type(error).__name__}: {error}",
        remedy="the same command goes on where it stopped; the server's log may say why",
        code="server-lost",
    )


def _as_task(build: Callable[[Step], Built], step: Step) -> Callable[[Step], Built]:
    return task(
        name=step.name,
        task_run_name=step.name,
        description=step.summary,
        cache_policy=NO_CACHE,
        persist_result=False,
    )(build)
