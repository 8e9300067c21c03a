"""The Prefect server goes away in mid-run and comes back: the stage does not notice."""

from __future__ import annotations

import time

import httpx
import pytest

from synthct.flows.processes.children import environment
from synthct.flows.run.prefect_server import prefect_server
from tests.flows.serve.conftest import free_port


@pytest.mark.slow
def test_a_minute_without_the_server_loses_the_run(toy, tmp_path, start_flow, until, monkeypatch):
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    port, home = free_port(), tmp_path / "prefect"
    (toy.root / "wait-one").touch()
    with prefect_server(home, port=port) as url:
        flow = start_flow(toy, PREFECT_API_URL=url, SYNTHCT_TOY_NAP_S="75")
        until(lambda: (toy.root / "started").exists(), 90, "the stage")
    time.sleep(60)
    with environment({}), prefect_server(home, port=port) as url:
        assert flow.wait(120) == 0, flow.stdout.read()
        (run,) = httpx.post(f"{url}/flow_runs/filter", json={}).json()
        assert run["state"]["type"] == "COMPLETED"
    assert (toy.root / "out/three/result.txt").read_text() == "scan one two three\n"
