"""``python -m synthct.flows.serve.runner``: runs what the Prefect server has scheduled."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from synthct.data.environment import SERVED_ROOT
from synthct.data.errors import UsageError
from synthct.data.yaml_text import read_yaml
from synthct.flows.workspace.project import find_root

if TYPE_CHECKING:
    from uuid import UUID

    from prefect.deployments.runner import RunnerDeployment
    from prefect.runner import Runner

FILE = "prefect.yaml"
"""File with the deployments; ``prefect deploy`` reads the same file for work pools."""

_QUERY_S = 2.0
_REGISTER_EVERY_S = 30.0
_STARTS_WITHIN_S = 900.0
"""Maximum time from submission to the first line of a run [s]; usually seconds, a minute on a busy
machine."""


def deployments(root: Path) -> list[dict[str, Any]]:
    """The deployments in ``prefect.yaml``.

    Raises
    ------
    UsageError
        ``no-deployments``.
    """
    document = read_yaml(root / FILE) or {}
    found = document.get("deployments") or []
    if not found:
        raise UsageError(
            "the file lists no deployments",
            where=FILE,
            remedy="add one, see docs/how-to/operations.md",
            code="no-deployments",
        )
    return list(found)


def main() -> None:
    """Register the deployments and start due runs until a signal."""
    from prefect.runner import Runner

    runner = Runner(name="synthct", query_seconds=_QUERY_S, pause_on_shutdown=False, limit=4)
    entries = deployments(Path(os.environ.get(SERVED_ROOT) or find_root()))
    asyncio.run(_serve(runner, [_deployment(entry) for entry in entries]))


def _deployment(entry: dict[str, Any]) -> RunnerDeployment:
    from prefect.client.schemas.actions import DeploymentScheduleCreate
    from prefect.client.schemas.objects import ConcurrencyLimitConfig
    from prefect.client.schemas.schedules import CronSchedule
    from prefect.deployments.runner import (  # type: ignore[attr-defined]
        EntrypointType,
    )

    from synthct.flows.jobs.schedule import scheduled

    deployment: Any = scheduled.to_deployment(
        name=entry["name"],
        description=entry.get("description"),
        schedules=[
            DeploymentScheduleCreate(
                schedule=CronSchedule(cron=each["cron"], timezone=each.get("timezone", "UTC")),
                active=each.get("active", True),
            )
            for each in entry.get("schedules", [])
        ],
        parameters=entry.get("parameters") or {},
        tags=entry.get("tags") or [],
        concurrency_limit=ConcurrencyLimitConfig(**entry["concurrency_limit"]),
        entrypoint_type=EntrypointType.MODULE_PATH,
    )
    # Always set: otherwise the server keeps a path that a client set, and code is loaded from it.
    deployment._path = str(Path.cwd())
    return cast("RunnerDeployment", deployment)


async def _serve(runner: Runner, wanted: list[RunnerDeployment]) -> None:
    await _register(runner, wanted)
    await _crash_abandoned()
    keeper = asyncio.create_task(_keep_registered(runner, wanted))
    try:
        await runner.start()
    finally:
        keeper.cancel()


async def _keep_registered(runner: Runner, wanted: list[RunnerDeployment]) -> None:
    while True:
        await asyncio.sleep(_REGISTER_EVERY_S)
        try:
            await _register(runner, wanted)
            await _crash_abandoned(_STARTS_WITHIN_S)
        except Exception as error:  # noqa: BLE001 - the server may be restarting: retried
            reason = f"{type(error).__name__}: {error}"
            sys.stderr.write(f"the deployments could not be checked: {reason}\n")


async def _register(runner: Runner, wanted: list[RunnerDeployment]) -> None:
    """Register each deployment of prefect.yaml, and undo changes of the code that it runs.

    A schedule that a user disabled or changed in Prefect's UI is left alone; one that was deleted,
    alone or with its deployment, is restored.
    """
    from prefect import get_client
    from prefect.exceptions import ObjectNotFound

    async with get_client() as client:
        for deployment in wanted:
            try:
                name = f"{deployment.flow_name}/{deployment.name}"
                stored = await client.read_deployment_by_name(name)
            except ObjectNotFound:
                stored = None
            if stored is not None and stored.id in _known and _is_whole(stored, deployment):
                continue
            if stored is not None and stored.id in _known and not _is_ours(stored, deployment):
                await client.delete_deployment(stored.id)  # it was changed while this server runs
            identity = await runner.aadd_deployment(deployment)
            if not _is_ours(await client.read_deployment(identity), deployment):
                # Registering again keeps pull steps that a client added before the flow.
                await client.delete_deployment(identity)
                identity = await runner.aadd_deployment(deployment)
            _known.add(identity)


async def _crash_abandoned(older_than_s: float = 0.0) -> None:
    """Mark the runs as crashed that a runner took up and never started.

    Such a run has sent no heartbeat, so that no automation ends it (`automations.py`), and it keeps
    the only place of its deployment: every later run would be cancelled, for ever. When this runner
    starts, no run can be on the way to its start; later on, one is given ``older_than_s``.
    """
    from datetime import UTC, datetime

    from prefect import get_client
    from prefect.client.schemas.filters import (
        FlowRunFilter,
        FlowRunFilterDeploymentId,
        FlowRunFilterState,
        FlowRunFilterStateType,
    )
    from prefect.client.schemas.objects import StateType
    from prefect.states import Crashed

    abandoned = FlowRunFilter(
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.PENDING])),
        deployment_id=FlowRunFilterDeploymentId(any_=list(_known)),
    )
    async with get_client() as client:
        for run in await client.read_flow_runs(flow_run_filter=abandoned):
            since = run.state.timestamp if run.state else datetime.now(UTC)
            if (datetime.now(UTC) - since).total_seconds() >= older_than_s:
                message = "it was taken up but never started; the next run resumes where it stopped"
                await client.set_flow_run_state(run.id, Crashed(message=message), force=True)


_known: set[UUID] = set()


def _is_whole(stored: Any, wanted: RunnerDeployment) -> bool:
    return _is_ours(stored, wanted) and bool(stored.schedules or not wanted.schedules)


def _is_ours(stored: Any, wanted: RunnerDeployment) -> bool:
    """Whether a stored deployment runs this package's flow and no steps before it."""
    return (
        stored.entrypoint == wanted.entrypoint
        and stored.path == wanted._path
        and not stored.pull_steps
        and stored.storage_document_id is None
    )


if __name__ == "__main__":
    main()
