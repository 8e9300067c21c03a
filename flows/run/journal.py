"""Report a running stage to Prefect: log lines, a progress artifact, a table of scores."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any
from uuid import UUID

import httpx
from prefect import get_client, get_run_logger
from prefect.artifacts import (
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

from synthct.flows.run.prefect_server import AUTH
from synthct.flows.run.progress import Event, StageProgress, event_line
from synthct.flows.run.stages import StageResult
from synthct.flows.workspace.project import StageTarget

_ARTIFACT_EVERY_S = 2.0
_ASK_EVERY_S = 5.0
_DRAIN_TIMEOUT_S = 10.0
_RETRY_AFTER_S = 60.0


class Cancelled(BaseException):
    """A user cancelled the run in Prefect: not an error of the stage."""


class Journal:
    """Listener of one stage that reports to the Prefect task run around it."""

    def __init__(self, flow_run: UUID) -> None:
        self._flow_run = flow_run
        self._log = get_run_logger()
        self._progress = StageProgress()
        self._artifact: UUID | None = None
        self._updated_s = self._asked_s = time.monotonic()
        self._away_until_s = 0.0

    def started(self, stage: StageTarget) -> None:
        """Create the progress artifact."""
        with self._server():
            self._artifact = create_progress_artifact(
                progress=0.0, key=f"progress-{stage.name}", description=stage.summary or stage.name
            )  # type: ignore[assignment]

    def event(self, stage: StageTarget, event: Event) -> None:
        """Log the events that are worth reading."""
        self._progress.take(event)
        if line := event_line(event, self._progress.left_s):
            level = self._log.error if event["kind"] == "unit_failed" else self._log.info
            level("%s", line)

    def output(self, stage: StageTarget, line: str) -> None:
        """Log a line of the stage's output."""
        if line.strip():
            self._log.info("%s", line)

    def tick(self, stage: StageTarget) -> None:
        """Update the artifact and check whether the run was cancelled, every few seconds.

        A server that does not answer costs an update, not the stage.
        """
        if time.monotonic() < self._away_until_s:
            return
        with self._server():
            self._tick()

    @contextlib.contextmanager
    def _server(self) -> Iterator[None]:
        """Ignore a lost server in the block, and do not call it again for a minute.

        Every call to a dead server blocks for a minute, and with it the stage's output.
        """
        try:
            yield
        except Exception as error:
            if not server_lost(error):
                raise
            self._away_until_s = time.monotonic() + _RETRY_AFTER_S

    def _tick(self) -> None:
        now = time.monotonic()
        if now - self._updated_s >= _ARTIFACT_EVERY_S:
            self._updated_s = now
            self._update(self._progress.percent)
        if now - self._asked_s >= _ASK_EVERY_S:
            self._asked_s = now
            self._require_wanted()

    def finished(self, stage: StageTarget, built: StageResult | None) -> None:
        """Set the artifact to 100 % and log the time."""
        if built is not None:
            if time.monotonic() >= self._away_until_s:
                with self._server():
                    self._update(100.0)
            self._log.info("%s: %s in %.1f s", stage.name, built.how, built.seconds)

    def _update(self, percent: float) -> None:
        if self._artifact is not None:
            update_progress_artifact(artifact_id=self._artifact, progress=percent)

    def _require_wanted(self) -> None:
        with get_client(sync_client=True) as client:
            state = client.read_flow_run(self._flow_run).state
        if state is not None and (state.is_cancelling() or state.is_cancelled()):
            raise Cancelled


def publish_scores(rows: Sequence[dict[str, Any]]) -> None:
    """Create the table artifact of the run."""
    if rows:
        create_table_artifact(table=[dict(row) for row in rows], key="scores")


def at_server(url: str) -> AbstractContextManager[Any]:
    """Point Prefect's client at a server for the block, whatever settings it read at import."""
    return temporary_settings(
        {PREFECT_API_URL: url, PREFECT_API_AUTH_STRING: os.environ.get(AUTH) or None}
    )


def server_lost(error: BaseException | None) -> bool:
    """Whether the error means that the Prefect server does not answer or rejects our requests."""
    while error is not None:
        if isinstance(error, httpx.HTTPError) or "Failed to reach API" in str(error):
            return True
        error = error.__cause__
    return False


def flush_senders() -> None:
    """Flush Prefect's background senders while the server still runs.

    At the end of the process they would wait over a minute for a server that has been stopped.
    """
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    for sender in (APILogWorker, EventsWorker):
        sender.drain_all(timeout=_DRAIN_TIMEOUT_S)
