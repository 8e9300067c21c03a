"""Post ended runs to a webhook; Slack, Teams, Mattermost and ntfy all accept the key ``text``."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from synthct.data.environment import WEBHOOK_FILE
from synthct.data.errors import UsageError
from synthct.flows.jobs.scheduled_jobs import QUARANTINED, WATCH
from synthct.flows.serve.runs import BATCH, ENDED, Run
from synthct.tasks.pipeline.progress import spelled_s

_TIMEOUT_S = 10.0
_TRIES = 5


def webhook() -> str | None:
    """The webhook's URL, if one is configured.

    Raises
    ------
    UsageError
        ``no-webhook``: the file cannot be read; ``bad-webhook``: it holds no valid URL.
    """
    path = os.environ.get(WEBHOOK_FILE)
    if not path:
        return None
    try:
        url = Path(path).read_text().strip()
    except OSError as error:
        raise UsageError(
            f"the webhook's URL cannot be read: {error.strerror or 'I/O error'}",
            where=f"{WEBHOOK_FILE}={path}",
            remedy=f"write the URL into this file, or unset {WEBHOOK_FILE}",
            code="no-webhook",
        ) from error
    if problem := _url_problem(url):
        raise UsageError(
            f"the content of the file {problem}",
            where=path,
            rule="a webhook is one https:// URL (http:// on this machine)",
            # not the URL itself: it is a secret
            remedy="copy the whole URL into the file, on one line",
            code="bad-webhook",
        )
    return url


def _url_problem(url: str) -> str:
    """What is wrong with a webhook's URL; "" if it is valid."""
    try:
        parts = httpx.URL(url)
        host, port = parts.host, parts.port
    except (httpx.InvalidURL, ValueError, TypeError):
        return "is no URL"
    if not host or any(sign.isspace() for sign in url):
        return "is no URL with a host"
    if port is not None and not 0 < port < 2**16:
        return "has a port out of range"
    if parts.scheme == "https" or (parts.scheme == "http" and host in ("127.0.0.1", "localhost")):
        return ""
    return f"is not an https:// URL but begins with {parts.scheme or 'nothing'}://"


@dataclass
class Notifier:
    """Posts each ended run once.

    Parameters
    ----------
    url
        The webhook; None: nothing is posted.
    since_s
        Runs that ended before are not posted [s since 1970].
    """

    url: str | None
    since_s: float = field(default_factory=time.time)
    _posted: dict[str, str] = field(default_factory=dict)
    _failures: dict[str, int] = field(default_factory=dict)

    def post_ended(self, runs: Iterable[Run]) -> Iterator[str]:
        """Post newly ended runs; yields a log line for each that the webhook did not accept."""
        for run in runs:
            new = run.state in ENDED and (run.end_s or 0.0) >= self.since_s
            posted = self._posted.get(run.id) == run.state
            if not new or posted or _is_idle(run) or self.url is None:
                continue
            try:
                httpx.post(self.url, json=message(run), timeout=_TIMEOUT_S).raise_for_status()
            except Exception as error:  # noqa: BLE001 - no message may end the service
                self._failures[run.id] = self._failures.get(run.id, 0) + 1
                if self._failures[run.id] < _TRIES:
                    continue  # retried at the next update
                yield f"the webhook did not accept {run.name}: {type(error).__name__}"
            self._posted[run.id] = run.state


def _is_idle(run: Run) -> bool:
    """Whether a watcher's run has nothing to report: one ends every few minutes."""
    if run.what not in (WATCH, BATCH) or run.state not in ("COMPLETED", "CANCELLED"):
        return False
    return not run.message.startswith(QUARANTINED)


def message(run: Run) -> dict[str, str | float]:
    """The message as JSON; it contains pseudonyms and numbers only."""
    text = (
        f"synthct {run.workspace}: {run.state.lower()} after {spelled_s(run.seconds)} ({run.name})"
    )
    return {
        "text": text + (f": {run.message[:200]}" if run.message else ""),
        "workspace": run.workspace,
        "state": run.state.lower(),
        "run": run.name,
        "seconds": round(run.seconds, 1),
    }
