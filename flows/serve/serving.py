"""``synthct serve``: keep server, runner, status page, exporter and Prometheus running."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from synthct.data.environment import ARRAYS, ARRAYS_COPIES, CLUSTER_FILE, SERVED_ROOT, TLS, UNITS
from synthct.data.errors import UsageError
from synthct.data.files import write_whole
from synthct.data.store.result_cache import LocalResults, open_result_cache
from synthct.flows.processes.children import SupervisedProcess, environment
from synthct.flows.run.prefect_process import bound_memory
from synthct.flows.run.prefect_server import AUTH, SERVING, password_file, prefect_server
from synthct.flows.serve import metrics, prometheus, results
from synthct.flows.serve.automations import ensure_automations
from synthct.flows.serve.notify import Notifier, webhook
from synthct.flows.serve.page import status_page
from synthct.flows.serve.pages import Guarded, Page, Unhealthy, as_json, pages, require_free
from synthct.flows.serve.runner import deployments
from synthct.flows.serve.snapshot import Facts, Observer
from synthct.flows.workspace.project import PRIVATE, QUIET
from synthct.tasks.pipeline.code import source_root

_UPDATE_EVERY_S = 5.0
_AGAIN_AFTER_S = 5.0

_PLACES = (UNITS, ARRAYS, ARRAYS_COPIES, TLS, CLUSTER_FILE)

Say = Callable[[str], None]


@dataclass(frozen=True)
class Ports:
    """Loopback ports; None: a free one."""

    page: int = 4280
    prefect: int | None = None


def serve(root: Path, ports: Ports, say: Say, *, stop_after_s: float | None = None) -> None:
    """Run the schedules of ``prefect.yaml`` until a signal, or for ``stop_after_s`` seconds.

    Raises
    ------
    UsageError
        ``serving-already``, ``no-deployments``, ``no-webhook``, ``bad-webhook``.
    MachineError
        ``port-in-use``, ``server-not-up``.
    """
    folder = root / PRIVATE / "serve"
    folder.mkdir(parents=True, exist_ok=True)
    named = [entry["name"] for entry in deployments(root)]
    notifier = Notifier(webhook())
    bound_memory()  # the pages are served by many short threads
    with contextlib.ExitStack() as stack:
        stack.enter_context(_alone(folder))
        require_free(ports.page)
        say("starting the Prefect server; the first start may take over a minute")
        # The runner uses the code of this process; each run then uses the code of its worktree.
        served = {str(SERVED_ROOT): str(root)}
        code = {"PYTHONPATH": str(source_root() / "src")}
        stack.enter_context(environment({**QUIET, **code, **absolute_places(), **served}))
        home = root / PRIVATE / "prefect"
        api = stack.enter_context(prefect_server(home, port=ports.prefect, schedules=True, say=say))
        ensure_automations()
        store = open_result_cache()
        observer = Observer(root, api, store.root if isinstance(store, LocalResults) else root)
        links: list[tuple[str, str]] = [("runs (Prefect)", api.removesuffix("/api"))]
        guarded = Guarded(
            results.PREFIXES,
            os.environ.get(AUTH, ""),
            lambda path: results.find(observer.snapshot().models, path),
        )
        page = stack.enter_context(
            pages(ports.page, _pages(observer, root, api, links, bool(guarded.password)), guarded)
        )
        scraper = _start_prometheus(root, folder, page, stack)
        if scraper:
            links.append(("metrics (Prometheus)", scraper.address))
        runner = stack.enter_context(_runner(folder))
        stack.enter_context(_announced(root, api))
        say(f"status page: {page}")
        for name, url in links:
            say(f"{name}: {url}")
        if password_file(home, api).exists():
            say(f"the password of runs, reports and cases is in {password_file(home, api)}")
        say(f"schedules: {', '.join(named)} (prefect.yaml); Ctrl-C stops everything")
        _until_stopped(runner, scraper, observer, notifier, say, stop_after_s)


def absolute_places() -> dict[str, str]:
    """Path variables made absolute, because runs have other working directories."""
    given = {name: os.environ.get(name, "") for name in _PLACES}
    return {
        name: str(Path(place).absolute())
        for name, place in given.items()
        if place and "://" not in place
    }


def _pages(
    observer: Observer, root: Path, api: str, links: list[tuple[str, str]], private: bool
) -> dict[str, Page]:
    more = [("numbers (JSON)", "/status.json"), ("exporter", "/metrics")]

    def html() -> tuple[str, bytes]:
        facts = observer.snapshot()
        text = status_page(
            facts, checkout=root.name, api=api, links=[*links, *more], private=private
        )
        return "text/html", text.encode()

    return {
        "/": html,
        "/status.json": lambda: as_json(_plain(observer.snapshot())),
        "/metrics": lambda: ("text/plain; version=0.0.4", metrics.exposition(observer.snapshot())),
        "/healthz": lambda: _health(observer),
    }


def _health(observer: Observer) -> tuple[str, bytes]:
    """Report whether due runs would be started."""
    if not observer.snapshot().answer.up:
        raise Unhealthy("the Prefect server does not answer")
    return "text/plain", b"ok\n"


def _plain(facts: Facts) -> dict[str, object]:
    active = facts.active
    return {
        "time_s": facts.taken_s,
        "prefect_up": facts.answer.up,
        "runs": [vars(run) for run in facts.answer.runs],
        "next": [vars(due) for due in facts.answer.due],
        "late": facts.answer.late,
        "active": {"stage": active.stage, "percent": active.progress.percent} if active else None,
    }


def _start_prometheus(
    root: Path, folder: Path, page: str, stack: contextlib.ExitStack
) -> prometheus.Prometheus | None:
    if not prometheus.installed():
        return None
    started = prometheus.Prometheus(root, folder / "prometheus", page)
    stack.callback(started.stop)
    return started


@dataclass
class _Runner:
    """The child process that starts due runs; it is restarted when it exits."""

    folder: Path
    log: IO[bytes]
    process: SupervisedProcess | None = None
    again_s: float = 0.0

    def keep_up(self, say: Say) -> None:
        """Start the process unless it runs."""
        if self.process is not None and self.process.ended() is None:
            return
        if self.process is not None:
            if not self.again_s:
                say(f"the runner exited ({self.process.ended()}) and is restarted")
                self.again_s = time.monotonic() + _AGAIN_AFTER_S
            if time.monotonic() < self.again_s:
                return
            self.process.stop()
        self.again_s = 0.0
        command = [sys.executable, "-m", "synthct.flows.serve.runner"]
        self.process = SupervisedProcess(
            command, folder=self.folder, environment=os.environ, output=self.log
        )


@contextlib.contextmanager
def _runner(folder: Path) -> Iterator[_Runner]:
    with (folder / "runner.log").open("ab") as log:
        # Prefect imports from the working directory first, so it must not contain packages.
        runner = _Runner(folder, log)
        try:
            yield runner
        finally:
            if runner.process is not None:
                runner.process.stop()


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Lock the checkout: two servers would both start every due run."""
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UsageError(
                "another `synthct serve` is running in this checkout",
                rule="one runs per checkout: two would start every scheduled run twice",
                where=str(folder),
                remedy="stop it first",
                code="serving-already",
            ) from error
        yield


@contextlib.contextmanager
def _announced(root: Path, api: str) -> Iterator[None]:
    """Publish the API address, so that ``synthct run`` in this checkout uses this server."""
    file = root / PRIVATE / SERVING
    write_whole(file, api)
    try:
        yield
    finally:
        file.unlink(missing_ok=True)


class _Stop(BaseException):
    """Raised by a signal; a BaseException, so that no error handler catches it."""


def _until_stopped(
    runner: _Runner,
    scraper: prometheus.Prometheus | None,
    observer: Observer,
    notifier: Notifier,
    say: Say,
    stop_after_s: float | None,
) -> None:
    def stop(_number: int, _frame: object) -> None:
        raise _Stop

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    end_s = time.monotonic() + (stop_after_s if stop_after_s is not None else float("inf"))
    updated_s, trouble = 0.0, ""
    try:
        while time.monotonic() < end_s:
            runner.keep_up(say)
            if time.monotonic() - updated_s > _UPDATE_EVERY_S:
                updated_s = time.monotonic()
                trouble = _update(observer, notifier, scraper, say, trouble)
            time.sleep(0.5)
    except _Stop:
        say("stopping; current runs are ended, and the next start resumes them")
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _update(
    observer: Observer,
    notifier: Notifier,
    scraper: prometheus.Prometheus | None,
    say: Say,
    trouble: str,
) -> str:
    """Update state, notifications and scrape targets; returns the error of the update, or "".

    An error is logged when it differs from the one before. A file that cannot be read or a message
    that cannot be sent costs one update, never the service.
    """
    try:
        facts = observer.snapshot()
        for line in notifier.post_ended(facts.answer.runs):
            say(line)
        if scraper:
            scraper.follow(facts)
    except Exception as error:  # noqa: BLE001 - the service must survive any error
        reason = f"{type(error).__name__}: {error}"
        if reason != trouble:
            say(f"an update failed, the service continues: {reason}")
        return reason
    return ""
