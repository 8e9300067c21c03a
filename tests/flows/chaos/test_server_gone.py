"""The Prefect server goes away in mid-run and comes back: the stage does not notice."""

from __future__ import annotations

import psutil
import pytest

from synthct.flows.processes import keeper
from synthct.flows.processes.children import RestartingProcess
from synthct.flows.run import prefect_process
from synthct.flows.run.prefect_api import Api
from synthct.flows.run.prefect_server import _answers, prefect_server


@pytest.mark.slow
def test_a_minute_without_the_server_loses_the_run(toy, tmp_path, start_flow, until, monkeypatch):
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.setattr(RestartingProcess, "LOOK_EVERY_S", 60.0)  # so long it stays away
    (toy.root / "wait-one").touch()
    with prefect_server(tmp_path / "prefect") as url:
        flow = start_flow(toy, SYNTHCT_TOY_NAP_S="75")
        until(lambda: (toy.root / "started").exists(), 90, "the stage")
        (server,) = [
            each
            for each in psutil.Process().children(recursive=True)
            if each.cmdline()[-2:-1] == [prefect_process.__file__]
            and each.cmdline()[-1] in url
            and keeper.__file__ not in each.cmdline()
        ]
        server.kill()
        assert flow.wait(240) == 0, flow.stdout.read()
        until(lambda: _answers(url), 90, "the server, again")
        (run,) = Api(url).ask("/flow_runs/filter")
        assert run["state"]["type"] == "COMPLETED"
    assert (toy.root / "out/three/result.txt").read_text() == "scan one two three\n"
