"""The Prefect server of a run: a given one, that of ``synthct serve``, or a private one."""

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
from synthct.data.files import create_private
from synthct.flows.processes.children import RestartingProcess, SupervisedProcess, environment
from synthct.flows.run import prefect_process

VARIABLE = "PREFECT_API_URL"
"""Address of a server that the user runs already; if set, no other is started."""

AUTH = "PREFECT_API_AUTH_STRING"
"""``user:password``, as Prefect's own client reads it."""

SERVING = "serving.url"
"""File in the checkout's private folder with the API address of a running ``synthct serve``."""

START_TIMEOUT_S = 300.0
"""The first start creates the database: 10 s on two idle cores, over 90 s on two busy ones. A
server process that exits is noticed at once."""

_EXTERNAL_TIMEOUT_S = 10.0

_HOST = "127.0.0.1"

_HEARTBEATS = {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30"}
"""Seconds. A run that misses three heartbeats is marked crashed (flows/serve/automations.py), so
every run sends them this often: with Prefect's default of 180 s, live runs would be marked."""

_RETENTION = {
    "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
    "PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD": str(30 * 86_400),
}
"""A watcher adds 288 runs a day to the database: those of the last 30 days are kept."""

_UNUSED_SERVICES = (
    "SCHEDULER",
    "LATE_RUNS",
    "TRIGGERS",
    "FOREMAN",
    "PAUSE_EXPIRATIONS",
    "REPOSSESSOR",
    "CLEANUP_RECONCILER",
)
"""Background loops for schedules and work pools; a single run has neither."""


@contextlib.contextmanager
def prefect_server(
    home: Path,
    *,
    port: int | None = None,
    meanwhile: Callable[[], None] = lambda: None,
    schedules: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> Iterator[str]:
    """Yield the address of a healthy Prefect API.

    Parameters
    ----------
    home
        Folder of the server's SQLite database and log.
    port
        Port on loopback; None: a free one.
    meanwhile
        Called while the server starts, which takes seconds.
    schedules
        Whether it also schedules runs and acts on automations (``synthct serve``).
    say
        Called with a message when the server exited and is restarted.

    Raises
    ------
    MachineError
        ``port-in-use``, ``server-not-up``.
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
    """API address of a ``synthct serve`` in this checkout, if it answers."""
    try:
        url = (private / SERVING).read_text().strip()
    except FileNotFoundError:
        return None
    return url if _answers(url) else None


def password_file(home: Path, url: str) -> Path:
    """File with ``user:password`` of the private server at an address; mode 0600."""
    return home / f"password.{url.removesuffix('/api').rsplit(':', 1)[-1]}"


def read_password(home: Path, url: str) -> str:
    """``user:password`` of the private server at an address; "" if there is no file."""
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
    home.chmod(0o700)  # the database contains the history of runs
    chosen = _free_port() if port is None else _require_free(port)
    url = f"http://{_HOST}:{chosen}/api"
    with _password(home, url) as password, contextlib.ExitStack() as stack:
        # In this process too: the Prefect client reads them at import, children inherit them.
        stack.enter_context(environment(_settings(home, url, schedules, password)))
        log = stack.enter_context((home / "server.log").open("wb"))
        server = RestartingProcess(
            "the Prefect server", _command(chosen), home, log, say,
            answers=lambda: _answers(url, _EXTERNAL_TIMEOUT_S),
        )  # fmt: skip
        stack.callback(server.stop)
        with _starting(home):
            server.start()
            meanwhile()
            _wait_until_healthy(server.process, url, home / "server.log")
        server.watch()
        yield url


@contextlib.contextmanager
def _password(home: Path, url: str) -> Iterator[str]:
    """Create a new password, in a file of mode 0600: other users can reach loopback as well."""
    password, file = f"synthct:{secrets.token_urlsafe(32)}", password_file(home, url)
    file.unlink(missing_ok=True)  # left over from a server that was killed
    create_private(file, password)
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
        # Otherwise a web page that the user has open could POST with the browser's password.
        "PREFECT_SERVER_API_CSRF_PROTECTION_ENABLED": "true",
        "PREFECT_SERVER_UI_API_URL": url,  # the default is port 4200
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
    """Let one server at a time create or migrate the database that a checkout's servers share."""
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


def _port_taken(port: int, reason: str) -> MachineError:
    return MachineError(
        f"the Prefect server cannot use this port: {reason}",
        where=f"{_HOST}:{port}",
        remedy="choose another --prefect-port or omit it to use a free one; "
        f"or set {VARIABLE} to the server that runs there",
        code="port-in-use",
    )


def _wait_until_healthy(server: SupervisedProcess, url: str, log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while not _answers(url):
        if server.ended() is not None or time.monotonic() > deadline:
            text = log.read_text(errors="replace")
            output = [line for line in text.splitlines() if line.strip()]
            if any("address already in use" in line for line in output):
                raise _port_taken(int(url.split(":")[2].split("/")[0]), "in use")
            reason = output[-1] if output else f"no answer in {START_TIMEOUT_S:.0f} s"
            raise MachineError(
                f"the Prefect server did not start: {reason}",
                where=url,
                remedy=f"see its log, {log}",
                code="server-not-up",
            )
        time.sleep(0.05)


def _require_answer(url: str) -> None:
    deadline = time.monotonic() + _EXTERNAL_TIMEOUT_S
    while not _answers(url):
        if time.monotonic() > deadline:
            raise MachineError(
                f"no Prefect server answered within {_EXTERNAL_TIMEOUT_S:g} s",
                where=f"{VARIABLE}={url}",
                remedy=f"start it, or unset {VARIABLE}: the run then starts a server itself",
                code="server-not-up",
            )
        time.sleep(0.2)


def _answers(url: str, timeout_s: float = 2.0) -> bool:
    try:
        with urllib.request.urlopen(f"{url.rstrip('/')}/health", timeout=timeout_s) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError, ValueError):
        return False
