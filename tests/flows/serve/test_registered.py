"""What is stored under a deployment's name runs our code, and comes back when it vanishes."""

from __future__ import annotations

import asyncio
import os
import time

import pytest
import yaml

from synthct.flows.run.prefect_api import Api
from synthct.flows.run.prefect_server import AUTH
from tests.flows.serve.conftest import PREFECT


class BusyApi(Api):
    """Asks again for a minute where the server's database is busy, as Prefect's own client does."""

    def request(self, *call):
        for _ in range(60):
            answer = super().request(*call)
            if answer.status_code != 503:
                break
            time.sleep(1)
        return answer


@pytest.fixture
def api(server, monkeypatch, tmp_path):
    """The server, which knows the weekly study of the toy site."""
    monkeypatch.chdir(tmp_path)
    return BusyApi(server, timeout_s=60)


@pytest.fixture
def register(api):
    """One look of the keeper of deployments."""
    from prefect.runner import Runner
    from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

    from synthct.flows.serve import runner as served

    # Prefect reads the environment when it is imported, which another test may have done before.
    settings = {PREFECT_API_URL: api.url, PREFECT_API_AUTH_STRING: os.environ.get(AUTH)}
    with temporary_settings(settings):
        runner = Runner(name="test")
        entry = yaml.safe_load(PREFECT)["deployments"][1] | {"name": "registered"}
        wanted = [served._deployment(entry)]
        yield lambda: asyncio.run(served._register(runner, wanted))


@pytest.fixture
def sweep(register):
    """What a runner does before it takes up runs."""
    from synthct.flows.serve import runner as served

    return lambda older_than_s=0.0: asyncio.run(served._crash_abandoned(older_than_s))


def stored(api):
    wanted = {"name": {"any_": ["registered"]}}
    found = api.ask("/deployments/filter", deployments=wanted)
    return found[0] if found else None


def test_a_deployment_or_its_schedule_that_vanished_stays_away(api, register):
    register()
    api.ask(f"/deployments/{stored(api)['id']}", method="DELETE")
    assert stored(api) is None
    register()
    (schedule,) = stored(api)["schedules"]
    api.ask(f"/deployments/{stored(api)['id']}/schedules/{schedule['id']}", method="DELETE")
    assert stored(api)["schedules"] == []
    register()
    (again,) = stored(api)["schedules"]
    assert again["schedule"]["cron"] == "0 4 1 1 *"


def test_a_schedule_that_a_person_switched_off_is_switched_on_again(api, register):
    register()
    (schedule,) = stored(api)["schedules"]
    path = f"/deployments/{stored(api)['id']}/schedules/{schedule['id']}"
    api.ask(path, method="PATCH", active=False)
    register()
    assert [each["active"] for each in stored(api)["schedules"]] == [False]


@pytest.mark.parametrize(
    "change",
    [
        {"entrypoint": "theirs.py:scheduled"},
        {"path": "/tmp/theirs"},
        {"pull_steps": [{"prefect.deployments.steps.set_working_directory": {"directory": "/"}}]},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_deployment_keeps_the_code_that_a_stranger_put_in(change, api, register):
    register()
    ours = {name: stored(api)[name] for name in ("entrypoint", "path", "pull_steps")}
    api.ask(f"/deployments/{stored(api)['id']}", method="PATCH", **change)
    assert {name: stored(api)[name] for name in ours} != ours
    register()
    assert {name: stored(api)[name] for name in ours} == ours


def taken_up(api):
    """A run of the deployment that a runner takes up; the state that the server allows it."""
    path = f"/deployments/{stored(api)['id']}/create_flow_run"
    run = api.ask(path, state={"type": "SCHEDULED"})["id"]
    return run, api.ask(f"/flow_runs/{run}/set_state", state={"type": "PENDING"})["state"]["type"]


def test_a_run_that_a_killed_runner_took_up_keeps_every_later_one_from_starting(
    api, register, sweep
):
    register()
    first, state = taken_up(api)
    assert state == "PENDING"
    assert taken_up(api)[1] == "CANCELLED", "one at a time"
    sweep(900.0)
    assert api.ask(f"/flow_runs/{first}", method="GET")["state_type"] == "PENDING", "it may start"
    sweep()
    run = api.ask(f"/flow_runs/{first}", method="GET")
    assert run["state_type"] == "CRASHED"
    assert "taken up but never started" in run["state"]["message"]
    assert taken_up(api)[1] == "PENDING"
    sweep()
