"""HTTP server of the status page, its JSON and the exporter; loopback only."""

from __future__ import annotations

import base64
import binascii
import contextlib
import hmac
import json
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from synthct.data.errors import MachineError

HOST = "127.0.0.1"

_NAMES = {"127.0.0.1", "localhost", "[::1]"}
"""Accepted ``Host`` headers: rejecting others stops DNS rebinding by web pages."""

IDLE_S = 30.0
"""After which a silent connection is closed: any local user can open some, each has a thread."""

Page = Callable[[], tuple[str, bytes]]
"""Content type and body."""

OPEN_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"

GUARDED_POLICY = (
    "sandbox allow-scripts; default-src 'none'; img-src data:; script-src 'unsafe-inline'; "
    "style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""``sandbox`` gives a page an origin of its own: its script can read no other page here, although
the browser would send the password along."""


class Unhealthy(Exception):
    """Raised by a page to report that the service is unhealthy; answered with status 503."""


@dataclass(frozen=True)
class Guarded:
    """Pages for holders of a password.

    Parameters
    ----------
    prefixes
        Starts of their paths. Without the password, none of these says whether there is a page.
    password
        ``user:password``; "": nobody sees them.
    find
        The page at a path, or None.
    """

    prefixes: tuple[str, ...]
    password: str
    find: Callable[[str], Page | None]

    def admits(self, authorization: str | None) -> bool:
        """Whether the value of an ``Authorization`` header has the password (RFC 7617)."""
        scheme, _, code = (authorization or "").partition(" ")
        try:
            given = base64.b64decode(code, validate=True)
        except (binascii.Error, ValueError):
            return False
        known = self.password.encode()
        return scheme.lower() == "basic" and bool(known) and hmac.compare_digest(given, known)


NOTHING_GUARDED = Guarded((), "", lambda _: None)


@contextlib.contextmanager
def pages(port: int, found: dict[str, Page], guarded: Guarded = NOTHING_GUARDED) -> Iterator[str]:
    """Serve the pages for the block; yields their address.

    Raises
    ------
    MachineError
        ``port-in-use``.
    """

    class Handler(BaseHTTPRequestHandler):
        server_version = "synthct"
        timeout = IDLE_S
        sys_version = ""

        def do_GET(self) -> None:
            """Serve one of the pages."""
            host = self.headers.get("Host", "").rsplit(":", 1)[0]
            path = self.path.split("?")[0]
            hidden = path.startswith(guarded.prefixes)
            if host not in _NAMES:
                self._send(HTTPStatus.FORBIDDEN, "text/plain", b"loopback only\n")
            elif hidden and not guarded.admits(self.headers.get("Authorization")):
                self._send(HTTPStatus.UNAUTHORIZED, "text/plain", b"the password is needed\n")
            else:
                try:
                    page = guarded.find(path) if hidden else found.get(path)
                    if page is None:
                        self._send(HTTPStatus.NOT_FOUND, "text/plain", b"no such page\n")
                        return
                    kind, body = page()
                except Unhealthy as reason:
                    text = f"{reason}\n".encode()
                    self._send(HTTPStatus.SERVICE_UNAVAILABLE, "text/plain", text)
                except Exception as error:  # noqa: BLE001 - one page must not end the server
                    text = f"{type(error).__name__}: {error}\n".encode()
                    self._send(HTTPStatus.INTERNAL_SERVER_ERROR, "text/plain", text)
                else:
                    policy = GUARDED_POLICY if hidden else OPEN_POLICY
                    self._send(HTTPStatus.OK, kind, body, policy)

        def _send(
            self, status: HTTPStatus, kind: str, body: bytes, policy: str = OPEN_POLICY
        ) -> None:
            self.send_response(status)
            self.send_header("Content-Type", f"{kind}; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "no-store")
            self.send_header("X-Content-Type-Options", "nosniff")
            self.send_header("Content-Security-Policy", policy)
            self.send_header("Cross-Origin-Resource-Policy", "same-origin")
            if status is HTTPStatus.UNAUTHORIZED:
                self.send_header("WWW-Authenticate", 'Basic realm="synthct", charset="UTF-8"')
            self.end_headers()
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Log nothing: Prometheus sends a request every few seconds."""

    try:
        server = ThreadingHTTPServer((HOST, port), Handler)
    except OSError as error:
        raise _taken(port, error) from error
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.2,), daemon=True)
    thread.start()
    try:
        yield f"http://{HOST}:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def require_free(port: int) -> None:
    """Raise at once if the port is in use, before the slow start of the other services."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise _taken(port, error) from error


def _taken(port: int, error: OSError) -> MachineError:
    return MachineError(
        f"the status page cannot use this port: {error.strerror or 'in use'}",
        where=f"{HOST}:{port}",
        remedy="choose another --port",
        code="port-in-use",
    )


def as_json(value: Any) -> tuple[str, bytes]:
    """A JSON page."""
    return "application/json", json.dumps(value, indent=2).encode()
