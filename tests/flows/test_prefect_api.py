"""Calls of the Prefect API: password, CSRF token, a server that is busy."""

from __future__ import annotations

from functools import partial

import httpx
import pytest

from synthct.flows.run.prefect_api import Api


@pytest.fixture
def server(monkeypatch):
    """Answers to the requests for a token, in turn; a call without a token is forbidden."""
    tokens = []

    def answer(request):
        if request.url.path.endswith("/csrf-token"):
            status = tokens.pop(0)
            return httpx.Response(status, json={"token": "t"} if status == 200 else {})
        known = request.headers.get("Prefect-Csrf-Token") == "t"
        return httpx.Response(200 if known else 403, json={})

    client = partial(httpx.Client, transport=httpx.MockTransport(answer))
    monkeypatch.setattr("synthct.flows.run.prefect_api.httpx.Client", client)
    return tokens


def test_a_server_that_was_too_busy_for_a_token_forbids_every_call_of_half_an_hour(server):
    server += [503, 200]
    api = Api("http://127.0.0.1:1/api", "u:p")
    assert api.request("/flow_runs/filter", "POST", {}).status_code == 503, "ask again"
    assert api.request("/flow_runs/filter", "POST", {}).status_code == 200


def test_a_server_without_tokens_is_asked_for_one_with_every_call(server):
    server += [422]
    api = Api("http://127.0.0.1:1/api", "u:p")
    for _ in range(2):
        assert api.request("/flow_runs/filter", "POST", {}).status_code == 403
    assert server == []
