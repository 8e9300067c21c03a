"""What the Prefect server knows of runs, as the page and the metrics want it."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx

from synthct.flows.jobs.scheduled_jobs import RUN, STUDY, WATCH, workspace_of

_TIMEOUT_S = 5.0
_NEWEST = 100
_NEWEST_LOOKS = 3
_PREFIX = re.compile(r"^Flow run encountered an exception: (\w+SynthctError: )?")

BATCH = "batch"
"""Scans that one look of a watcher predicted: a run inside the look, there only when scans came."""

ENDED = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")


@dataclass(frozen=True)
class Run:
    """One run of a flow.

    Parameters
    ----------
    id, name
        Prefect's.
    workspace
        What it builds.
    what
        ``run``, ``study``, ``watch`` or ``batch``.
    state
        Type of its state: ``RUNNING``, ``COMPLETED``, ...
    message
        Words of the state.
    start_s, end_s
        Seconds since 1970; None: not yet.
    seconds
        How long it ran.
    scheduled
        Whether a deployment started it.
    """

    id: str
    name: str
    workspace: str
    what: str
    state: str
    message: str
    start_s: float | None
    end_s: float | None
    seconds: float
    scheduled: bool


@dataclass(frozen=True)
class Due:
    """A run that a schedule has planned."""

    deployment: str
    at_s: float


@dataclass(frozen=True)
class Answer:
    """What the server said; ``up`` is False when it did not, and then nothing else is known.

    ``off`` are the deployments without a schedule that is on.
    """

    up: bool
    runs: tuple[Run, ...] = ()
    due: tuple[Due, ...] = ()
    late: int = 0
    off: tuple[str, ...] = ()


def ask(api: str) -> Answer:
    """One look at the server: never raises for a server that is gone."""
    try:
        with httpx.Client(base_url=api, timeout=_TIMEOUT_S, auth=_password()) as client:
            deployed = _post(client, "deployments")
            names = {each["id"]: each["name"] for each in deployed}
            newest = _newest(client, deployed)
            waiting = {"state": {"type": {"any_": ["SCHEDULED"]}}}
            planned = _post(client, "flow_runs", flow_runs=waiting, sort="EXPECTED_START_TIME_ASC")
    except (httpx.HTTPError, ValueError, KeyError):
        return Answer(up=False)
    return Answer(
        up=True,
        runs=tuple(_run(each) for each in newest),
        due=tuple(_due(planned, names)),
        late=sum(each.get("state_name") == "Late" for each in planned),
        off=tuple(sorted(each["name"] for each in deployed if not _is_on(each))),
    )


def _is_on(deployment: dict[str, Any]) -> bool:
    scheduled = any(each.get("active") for each in deployment.get("schedules") or [])
    return scheduled and not deployment.get("paused")


def _newest(client: httpx.Client, deployed: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Runs by start, newest first. Looks into an inbox are many: they crowd out no other."""
    watchers = {e["id"] for e in deployed if (e.get("parameters") or {}).get("what") == WATCH}
    others = [each["id"] for each in deployed if each["id"] not in watchers]
    found = []
    for which, limit in (
        ({"is_null_": True}, _NEWEST),
        ({"any_": others}, _NEWEST),
        ({"any_": sorted(watchers)}, _NEWEST_LOOKS),
    ):
        past = {"state": {"type": {"not_any_": ["SCHEDULED"]}}, "deployment_id": which}
        found += _post(client, "flow_runs", flow_runs=past, sort="START_TIME_DESC", limit=limit)
    return sorted(found, key=lambda each: each.get("start_time") or "", reverse=True)


def _password() -> tuple[str, str] | None:
    """What Prefect's own client sends to a server that asks for a password."""
    user, colon, password = os.environ.get("PREFECT_API_AUTH_STRING", "").partition(":")
    return (user, password) if colon else None


def _post(client: httpx.Client, what: str, **body: Any) -> list[dict[str, Any]]:
    answer = client.post(f"/{what}/filter", json={"limit": _NEWEST, **body})
    answer.raise_for_status()
    return list(answer.json())


def _run(found: dict[str, Any]) -> Run:
    what, workspace = about(found.get("parameters") or {})
    start_s, end_s = _seconds(found.get("start_time")), _seconds(found.get("end_time"))
    running = found["state_type"] not in ENDED and start_s is not None
    return Run(
        id=str(found["id"]),
        name=str(found["name"]),
        workspace=workspace,
        what=what,
        state=str(found["state_type"]),
        message=_PREFIX.sub("", str((found.get("state") or {}).get("message") or "")),
        start_s=start_s,
        end_s=end_s,
        seconds=time.time() - (start_s or 0.0)
        if running
        else float(found.get("total_run_time") or 0.0),
        scheduled=found.get("deployment_id") is not None,
    )


def about(given: dict[str, Any]) -> tuple[str, str]:
    """(what, workspace) of the parameters of our three flows: scheduled, chain, batch."""
    if "scans" in given:
        return BATCH, WATCH
    what = STUDY if STUDY in (given.get("stages") or []) else str(given.get("what") or RUN)
    named = given.get("workspace")
    return what, str(named or workspace_of(what, given.get("preset"), given.get("options") or {}))


def _due(planned: Iterable[dict[str, Any]], names: dict[str, str]) -> Iterable[Due]:
    """The next run of each deployment."""
    seen: set[str] = set()
    for each in planned:
        name = names.get(str(each.get("deployment_id")), "by hand")
        at_s = _seconds(each.get("expected_start_time"))
        if name not in seen and at_s is not None:
            seen.add(name)
            yield Due(name, at_s)


def _seconds(told: str | None) -> float | None:
    return datetime.fromisoformat(told.replace("Z", "+00:00")).timestamp() if told else None
