"""``python -m synthct.flows.serve.runner``: starts what the Prefect server has scheduled."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

from synthct.data.environment import SERVED_ROOT
from synthct.data.errors import UsageError
from synthct.data.yaml_text import read_yaml
from synthct.flows.workspace.project import find_root

FILE = "prefect.yaml"
"""The deployments: ``prefect deploy`` reads the same file for work pools."""

_QUERY_S = 2.0


def deployments(root: Path) -> list[dict[str, Any]]:
    """The entries of ``prefect.yaml``."""
    document = read_yaml(root / FILE) or {}
    found = document.get("deployments") or []
    if not found:
        raise UsageError("prefect.yaml names a deployment", where=FILE, code="no-deployments")
    return list(found)


def main() -> None:
    """Register the deployments and run what is due until told to stop."""
    from prefect.client.schemas.actions import DeploymentScheduleCreate
    from prefect.client.schemas.objects import ConcurrencyLimitConfig
    from prefect.client.schemas.schedules import CronSchedule
    from prefect.deployments.runner import (  # type: ignore[attr-defined]
        EntrypointType,
    )
    from prefect.runner import Runner

    from synthct.flows.jobs.schedule import scheduled

    runner = Runner(name="synthct", query_seconds=_QUERY_S, pause_on_shutdown=False, limit=4)
    for entry in deployments(Path(os.environ.get(SERVED_ROOT) or find_root())):
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
        runner.add_deployment(deployment)
    asyncio.run(runner.start())


if __name__ == "__main__":
    main()
