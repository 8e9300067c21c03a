"""A Prefect server of our own, on loopback, that cannot outlive the flow."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

from synthct.data.errors import MachineError
from synthct.flows.processes.children import RestartingProcess, SupervisedProcess, environment
from synthct.flows.run import prefect_process

VARIABLE = "PREFECT_API_URL"
"""A server that the user runs already; set: no other is started."""

AUTH = "PREFECT_API_AUTH_STRING"
"""``user:password``, as Prefect's own client reads it."""

SERVING = "serving.url"
"""In the checkout's private folder while ``synthct serve`` is up: the address of its API."""

PATIENCE_S = 300.0
"""A first start makes the database: 10 s on two idle cores, more than 90 s on two crowded ones.
A server that ends is noticed at once."""

_GIVEN_PATIENCE_S = 10.0

_HOST = "127.0.0.1"

_HEARTBEATS = {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30"}
"""Seconds. A run that misses three is called crashed (flows/serve/automations.py), so all runs
that a served Prefect sees beat as often: Prefect's own default of 180 s would crash them alive."""

_RETENTION = {
    "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
    "PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD": str(30 * 86_400),
}
"""A watcher adds 288 runs a day to the database: those of the last 30 days stay."""

_UNUSED_SERVICES = (
    "SCHEDULER",
    "LATE_RUNS",
    "TRIGGERS",
    "FOREMAN",
    "PAUSE_EXPIRATIONS",
    "REPOSSESSOR",
    "CLEANUP_RECONCILER",
)
"""Background loops that serve schedules and work pools: a single run has neither."""


@contextlib.contextmanager
def prefect_server(
    home: Path,
    *,
    port: int | None = None,
    meanwhile: Callable[[], None] = lambda: None,
    schedules: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> Iterator[str]:
    """Address of a healthy Prefect API for the block; what else must start may do so meanwhile.

    Parameters
    ----------
    home
        Folder of the server's SQLite database and log.
    port
        Port on loopback; None: a free one.
    meanwhile
        Called while the server starts.
    schedules
        Whether it also schedules runs and acts on automations (``synthct serve``).
    say
        Told when a server of ours ended and is started again.
    """
    if given := os.environ.get(VARIABLE):
        with environment(_HEARTBEATS):
            meanwhile()
            _require_answer(given)
            yield given
        return
    if port is None and not schedules and (serving := _served(home.parent)):
        password = {AUTH: read_password(home, serving)}
        with environment({**_HEARTBEATS, **password, VARIABLE: serving}):
            meanwhile()
            yield serving
        return
    with _own_server(home, port, meanwhile, schedules, say) as url:
        yield url


def _served(private: Path) -> str | None:
    """The server of a ``synthct serve`` in this checkout, if it answers."""
    try:
        url = (private / SERVING).read_text().strip()
    except FileNotFoundError:
        return None
    return url if _answers(url) else None


def password_file(home: Path, url: str) -> Path:
    """File with ``user:password`` of our server at an address, for its owner alone."""
    return home / f"password.{url.removesuffix('/api').rsplit(':', 1)[-1]}"


def read_password(home: Path, url: str) -> str:
    """``user:password`` of a server of ours; "" where it has left none."""
    try:
        return password_file(home, url).read_text().strip()
    except OSError:
        return ""


@contextlib.contextmanager
def _own_server(
    home: Path,
    port: int | None,
    meanwhile: Callable[[], None],
    schedules: bool,
    say: Callable[[str], None],
) -> Iterator[str]:
    home.mkdir(parents=True, exist_ok=True)
    home.chmod(0o700)  # the database tells what ran here
    chosen = _free_port() if port is None else _require_free(port)
    url = f"http://{_HOST}:{chosen}/api"
    with _password(home, url) as password, contextlib.ExitStack() as stack:
        # Ours too: the Prefect client reads them when it is first imported, children inherit them.
        stack.enter_context(environment(_settings(home, url, schedules, password)))
        log = stack.enter_context((home / "server.log").open("wb"))
        server = RestartingProcess("the Prefect server", _command(chosen), home, log, say)
        stack.callback(server.stop)
        with _starting(home):
            server.start()
            meanwhile()
            _wait_until_healthy(server.process, url, home / "server.log")
        server.watch()
        yield url


@contextlib.contextmanager
def _password(home: Path, url: str) -> Iterator[str]:
    """A new password for this start, in a file for its owner alone: other users share loopback."""
    password, file = f"synthct:{secrets.token_urlsafe(32)}", password_file(home, url)
    file.unlink(missing_ok=True)  # of a server that was killed
    handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as opened:
        opened.write(password)
    try:
        yield password
    finally:
        file.unlink(missing_ok=True)


def _command(port: int) -> list[str]:
    return [sys.executable, prefect_process.__file__, str(port)]


def _settings(home: Path, url: str, schedules: bool, password: str) -> dict[str, str]:
    off = () if schedules else _UNUSED_SERVICES
    return {
        "PREFECT_HOME": str(home),
        VARIABLE: url,
        AUTH: password,
        "PREFECT_SERVER_API_AUTH_STRING": password,
        # A web page that the user has open can send a POST with his browser's password.
        "PREFECT_SERVER_API_CSRF_PROTECTION_ENABLED": "true",
        "PREFECT_SERVER_UI_API_URL": url,  # else the page asks port 4200
        # The default lets any web page that the user has open read and cancel runs.
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": url.removesuffix("/api"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        **_HEARTBEATS,
        **_RETENTION,
        **{f"PREFECT_SERVER_SERVICES_{name}_ENABLED": "false" for name in off},
    }


@contextlib.contextmanager
def _starting(home: Path) -> Iterator[None]:
    """One server at a time makes or migrates the database that all of a checkout share."""
    with (home / "starting.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        return int(probe.getsockname()[1])


def _require_free(port: int) -> int:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except OSError as error:
            raise _port_taken(port, error.strerror or "in use") from error
    return port


def _port_taken(port: int, got: str) -> MachineError:
    return MachineError(
        "the port of the Prefect server is free",
        where=f"{_HOST}:{port}",
        got=got,
        remedy=f"choose another --port (of serve: --prefect-port), or none: a free one is found; "
        f"or set {VARIABLE} to the server that runs there",
        code="port-in-use",
    )


def _wait_until_healthy(server: SupervisedProcess, url: str, log: Path) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not _answers(url):
        if server.ended() is not None or time.monotonic() > deadline:
            said = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
            if any("address already in use" in line for line in said):
                raise _port_taken(int(url.split(":")[2].split("/")[0]), "in use")
            raise MachineError(
                "the Prefect server starts",
                where=url,
                got=said[-1] if said else f"no answer in {PATIENCE_S:.0f} s",
                remedy=f"its log: {log}",
                code="server-not-up",
            )
        time.sleep(0.05)


def _require_answer(url: str) -> None:
    deadline = time.monotonic() + _GIVEN_PATIENCE_S
    while not _answers(url):
        if time.monotonic() > deadline:
            raise MachineError(
                "a Prefect server answers at the address that you gave",
                where=f"{VARIABLE}={url}",
                got=f"no answer in {_GIVEN_PATIENCE_S:g} s",
                remedy=f"start it, or unset {VARIABLE}: a server is then started for the run",
                code="server-not-up",
            )
        time.sleep(0.2)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url.rstrip('/')}/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError, ValueError):
        return False
