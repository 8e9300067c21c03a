"""``python -m synthct.flows.serve.runner``: starts what the Prefect server has scheduled."""

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
"""The deployments: ``prefect deploy`` reads the same file for work pools."""

_QUERY_S = 2.0
_REGISTER_EVERY_S = 30.0


def deployments(root: Path) -> list[dict[str, Any]]:
    """The entries of ``prefect.yaml``."""
    document = read_yaml(root / FILE) or {}
    found = document.get("deployments") or []
    if not found:
        raise UsageError(
            "",
            problem="the file lists no deployments",
            where=FILE,
            remedy="add one, see docs/how-to/operations.md",
            code="no-deployments",
        )
    return list(found)


def main() -> None:
    """Register the deployments and run what is due until told to stop."""
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
    # Said each time: else the server keeps a path that somebody gave it, and code is loaded there.
    deployment._path = str(Path.cwd())
    return cast("RunnerDeployment", deployment)


async def _serve(runner: Runner, wanted: list[RunnerDeployment]) -> None:
    await _register(runner, wanted)
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
        except Exception as error:  # noqa: BLE001 - the server may be away: looked again
            sys.stderr.write(f"the schedules were not looked at: {type(error).__name__}: {error}\n")


async def _register(runner: Runner, wanted: list[RunnerDeployment]) -> None:
    """Have the server know each deployment as it is in prefect.yaml, with code of ours alone.

    A schedule that a person turned off or changed on the runs' page stays as he wants it; one that
    is gone, with its deployment or alone, comes back.
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
                await client.delete_deployment(stored.id)  # at once: it was changed while we serve
            identity = await runner.aadd_deployment(deployment)
            if not _is_ours(await client.read_deployment(identity), deployment):
                # Registering again leaves steps that somebody put before the flow.
                await client.delete_deployment(identity)
                identity = await runner.aadd_deployment(deployment)
            _known.add(identity)


_known: set[UUID] = set()


def _is_whole(stored: Any, wanted: RunnerDeployment) -> bool:
    return _is_ours(stored, wanted) and bool(stored.schedules or not wanted.schedules)


def _is_ours(stored: Any, wanted: RunnerDeployment) -> bool:
    """Whether a deployment of the server's runs our code and nothing before it."""
    return (
        stored.entrypoint == wanted.entrypoint
        and stored.path == wanted._path
        and not stored.pull_steps
        and stored.storage_document_id is None
    )


if __name__ == "__main__":
    main()
