"""Calls of the Prefect API with password and CSRF token, without importing Prefect."""

from __future__ import annotations

import os
import secrets
import time
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import httpx

from synthct.flows.run.prefect_server import AUTH

TOKEN_S = 1800.0
"""Age at which a CSRF token is renewed; it expires after an hour."""


@dataclass
class Api:
    """Client of one Prefect server.

    Parameters
    ----------
    url
        Address of the API; ends in ``/api``.
    auth
        ``user:password``; None: the value of ``$PREFECT_API_AUTH_STRING``.
    timeout_s
        Timeout of one request [s].
    """

    url: str
    auth: str | None = None
    timeout_s: float = 5.0
    _client_id: str = field(default_factory=lambda: secrets.token_hex(16))
    _token: str | None = None
    _until_s: float = 0.0

    def ask(self, path: str, /, method: str = "POST", **body: Any) -> Any:
        """Call the API and return the JSON of the response, or None if it has no body.

        Raises
        ------
        httpx.HTTPError
            The server does not answer, or answers with an error status.
        """
        answer = self.request(path, method, body)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def request(self, path: str, method: str, body: dict[str, Any]) -> httpx.Response:
        """Call the API once; a CSRF token that the server rejects is renewed."""
        with httpx.Client(timeout=self.timeout_s, auth=self._password()) as client:
            answer = self._call(client, path, method, body)
            if answer.status_code == HTTPStatus.FORBIDDEN and self._token:
                self._until_s = 0.0
                answer = self._call(client, path, method, body)
            return answer

    def _call(
        self, client: httpx.Client, path: str, method: str, body: dict[str, Any]
    ) -> httpx.Response:
        if time.monotonic() > self._until_s:
            given = client.get(f"{self.url}/csrf-token", params={"client": self._client_id})
            if given.is_server_error:
                return given  # too busy for a token: without one, the call would be forbidden
            # 422: this server uses no CSRF tokens.
            known = given.status_code == HTTPStatus.OK
            self._token = str(given.json()["token"]) if known else None
            self._until_s = time.monotonic() + TOKEN_S
        token = {"Prefect-Csrf-Token": self._token, "Prefect-Csrf-Client": self._client_id}
        headers = {name: value for name, value in token.items() if value and self._token}
        return client.request(method, f"{self.url}{path}", json=body, headers=headers)

    def _password(self) -> tuple[str, str] | None:
        given = os.environ.get(AUTH, "") if self.auth is None else self.auth
        user, colon, password = given.partition(":")
        return (user, password) if colon else None
