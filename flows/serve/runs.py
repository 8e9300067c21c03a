"""Query the Prefect server for runs and deployments, for the status page and the metrics."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx

from synthct.flows.jobs.scheduled_jobs import RUN, STUDY, WATCH, workspace_of
from synthct.flows.run.prefect_api import Api

_NEWEST = 100
_NEWEST_POLLS = 3
_PREFIX = re.compile(r"^Flow run encountered an exception: (\w+SynthctError: )?")

BATCH = "batch"
"""Kind of the run that predicts the scans of one poll; it is nested in the watcher's run."""

ENDED = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")


@dataclass(frozen=True)
class Run:
    """One run of a flow.

    Parameters
    ----------
    id, name
        Id and name in Prefect.
    workspace
        Workspace that it works on.
    what
        ``run``, ``study``, ``watch`` or ``batch``.
    state
        Type of its state: ``RUNNING``, ``COMPLETED``, ...
    message
        Message of the state.
    start_s, end_s
        Start and end [s since 1970]; None: not yet.
    seconds
        Duration.
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
    """The next run of a deployment."""

    deployment: str
    at_s: float


@dataclass(frozen=True)
class Watcher:
    """A deployment that polls an inbox.

    Parameters
    ----------
    workspace
        Name under which its runs are listed.
    out
        Its outbox, as in the deployment's options.
    on
        Whether its schedule is active.
    """

    workspace: str
    out: str
    on: bool


@dataclass(frozen=True)
class Answer:
    """State of the server; if ``up`` is False, it did not answer and the rest is empty.

    ``off`` lists the deployments without an active schedule.
    """

    up: bool
    runs: tuple[Run, ...] = ()
    due: tuple[Due, ...] = ()
    late: int = 0
    off: tuple[str, ...] = ()
    watchers: tuple[Watcher, ...] = ()


def ask(api: Api) -> Answer:
    """Query the server; a server that does not answer is reported as ``up=False``."""
    try:
        deployed = _post(api, "deployments")
        names = {each["id"]: each["name"] for each in deployed}
        newest = _newest(api, deployed)
        waiting = {"state": {"type": {"any_": ["SCHEDULED"]}}}
        planned = _post(api, "flow_runs", flow_runs=waiting, sort="EXPECTED_START_TIME_ASC")
        return Answer(
            up=True,
            runs=tuple(_run(each) for each in newest),
            due=tuple(_due(planned, names)),
            late=sum(each.get("state_name") == "Late" for each in planned),
            off=tuple(sorted(each["name"] for each in deployed if not _is_on(each))),
            watchers=tuple(_watcher(each) for each in deployed if _watches(each)),
        )
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError, AttributeError):
        return Answer(up=False)


def _watches(deployment: dict[str, Any]) -> bool:
    return (deployment.get("parameters") or {}).get("what") == WATCH


def _watcher(deployment: dict[str, Any]) -> Watcher:
    _, workspace = about(deployment["parameters"])
    out = (deployment["parameters"].get("options") or {}).get("out")
    return Watcher(workspace, str(out or ""), _is_on(deployment))


def _is_on(deployment: dict[str, Any]) -> bool:
    scheduled = any(each.get("active") for each in deployment.get("schedules") or [])
    return scheduled and not deployment.get("paused")


def _newest(api: Api, deployed: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Runs by start, newest first. The many runs of watchers are limited separately."""
    watchers = {each["id"] for each in deployed if _watches(each)}
    others = [each["id"] for each in deployed if each["id"] not in watchers]
    polls, any_end = {"any_": sorted(watchers)}, {"not_any_": ["SCHEDULED"]}
    found = {}
    for which, state, limit in (
        ({"is_null_": True}, any_end, _NEWEST),
        ({"any_": others}, any_end, _NEWEST),
        (polls, any_end, _NEWEST_POLLS),
        # Three failed polls in a row must not hide the time of the last successful one.
        (polls, {"any_": ["COMPLETED"]}, _NEWEST_POLLS),
    ):
        past = {"state": {"type": state}, "deployment_id": which}
        for each in _post(api, "flow_runs", flow_runs=past, sort="START_TIME_DESC", limit=limit):
            found[each["id"]] = each
    return sorted(found.values(), key=lambda each: each.get("start_time") or "", reverse=True)


def _post(api: Api, what: str, **body: Any) -> list[dict[str, Any]]:
    return list(api.ask(f"/{what}/filter", **{"limit": _NEWEST, **body}))


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
    """(what, workspace) from the parameters of a flow: scheduled, chain or batch."""
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


def _seconds(timestamp: str | None) -> float | None:
    if not timestamp:
        return None
    return datetime.fromisoformat(timestamp.replace("Z", "+00:00")).timestamp()
