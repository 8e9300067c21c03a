"""Who may do what at a served site: other users of the machine, pages of the web."""

from __future__ import annotations

import base64
import stat

import httpx
import psutil
import pytest

from synthct.flows.run.prefect_server import password_file


@pytest.fixture(scope="module")
def address(site):
    return site.api


@pytest.fixture(scope="module")
def password(site):
    return site.calls.auth


def basic(auth):
    return {"Authorization": "Basic " + base64.b64encode(auth.encode()).decode()}


CHANGES = [
    ("POST", "/deployments/filter"),
    ("POST", "/flow_runs/filter"),
    ("POST", "/flow_runs/"),
    ("DELETE", "/deployments/00000000-0000-0000-0000-000000000000"),
    ("GET", "/admin/settings"),
    ("GET", "/csrf-token?client=x"),
]


@pytest.mark.parametrize(("method", "path"), CHANGES)
def test_another_user_of_the_machine_is_answered(method, path, site, address):
    wrong = (None, basic("synthct:guessed"), basic(":"), {"Authorization": "Basic"})
    for headers in wrong:
        answer = httpx.request(method, f"{address}{path}", json={}, headers=headers)
        # A change lacks its CSRF token first; that is given out for the password alone.
        refused = httpx.codes.UNAUTHORIZED if method == "GET" else httpx.codes.FORBIDDEN
        assert answer.status_code == refused


def test_the_password_can_be_read_by_others_or_is_always_the_same(site, password):
    file = password_file(site.root / ".synthct" / "prefect", site.api)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert len(password.split(":")[1]) >= 40
    family = psutil.Process(site.process.pid).children(recursive=True)
    assert not [each for each in family if password in " ".join(each.cmdline())]
    assert password not in (site.root / "marks" / "said").read_text()


def test_a_page_of_the_web_uses_the_password_that_the_browser_keeps(site, address, password):
    """A form's POST carries the browser's password, but can set no header of ours."""
    answer = httpx.post(f"{address}/deployments/filter", json={}, headers=basic(password))
    assert answer.status_code == httpx.codes.FORBIDDEN
    assert "CSRF" in answer.text


@pytest.mark.parametrize("host", ["evil.example", "evil.example:4200", "127.0.0.1.evil.example"])
def test_a_name_that_was_made_to_point_here_is_answered(host, site, address, password):
    for path in ("/api/health", "/", "/api/deployments/filter"):
        base = address.removesuffix("/api")
        headers = {"Host": host, **basic(password)}
        assert httpx.get(f"{base}{path}", headers=headers).status_code == httpx.codes.BAD_REQUEST


SOCKETS = ["events/in", "events/out", "logs/out", "task_runs/subscriptions/scheduled"]
"""No token and no policy of origins holds a web socket back: the server itself must."""


@pytest.mark.parametrize("path", SOCKETS)
@pytest.mark.parametrize(
    "opening",
    [{}, {"origin": "http://evil.example"}, {"additional_headers": {"Host": "evil.example"}},
     {"subprotocols": ["prefect"]}, {"subprotocols": ["prefect"], "origin": "http://evil.example"}],
    ids=str,
)  # fmt: skip
def test_a_web_socket_is_opened_to_a_page_or_a_user_without_the_password(opening, path, address):
    from websockets.exceptions import ConnectionClosed, InvalidStatus
    from websockets.sync.client import connect

    def told():
        with connect(f"ws{address.removeprefix('http')}/{path}", **opening) as socket:
            socket.send('{"type": "auth", "token": "synthct:guessed"}')
            return socket.recv(timeout=20)

    with pytest.raises((ConnectionClosed, InvalidStatus)):
        told()


def gone(site, name="weekly-study"):
    found = {each["name"]: each for each in site.ask("/deployments/filter")}
    return found.get(name)


@pytest.mark.slow
def test_schedules_that_vanish_stay_away(site, until):
    site.ask(f"/deployments/{gone(site)['id']}", method="DELETE")
    assert gone(site) is None
    until(lambda: gone(site), 60, "the deployment, again")
    assert [each["active"] for each in gone(site)["schedules"]] == [True]
    (schedule,) = gone(site)["schedules"]
    site.ask(f"/deployments/{gone(site)['id']}/schedules/{schedule['id']}", method="DELETE")
    until(lambda: gone(site)["schedules"], 60, "its schedule, again")
    identity = site.start("weekly-study", what="run", preset=None)
    until(lambda: site.state(identity) == "COMPLETED", 90, "a run of it", every_s=0.3)


@pytest.mark.slow
def test_a_deployment_is_made_to_load_code_from_elsewhere(site, until, tmp_path):
    (tmp_path / "theirs.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    steps = [{"prefect.deployments.steps.set_working_directory": {"directory": str(tmp_path)}}]
    changes = {"entrypoint": "theirs.py:scheduled", "path": str(tmp_path), "pull_steps": steps}
    site.ask(f"/deployments/{gone(site)['id']}", method="PATCH", **changes)

    def ours():
        found = gone(site)
        return found if found and found["path"] != changes["path"] else None

    found = until(ours, 60, "our code, again")
    assert not found["pull_steps"]
    assert found["entrypoint"] == "synthct.flows.jobs.schedule.scheduled"
    assert found["path"] == str(site.root / ".synthct" / "serve")
    assert not (tmp_path / "ran").exists()


def test_a_server_that_was_killed_stays_away_and_all_seems_well(site, until):
    """Last but one: it costs the site its server for a while."""
    assert httpx.get(f"{site.page}/healthz").status_code == httpx.codes.OK
    before = site.api, site.calls.auth
    server = next(
        each
        for each in psutil.Process(site.process.pid).children(recursive=True)
        if each.cmdline()[-2:-1] and each.cmdline()[-2].endswith("prefect_process.py")
        and "keeper.py" not in " ".join(each.cmdline())
    )  # fmt: skip
    server.kill()
    sick = until(
        lambda: httpx.get(f"{site.page}/healthz").status_code == httpx.codes.SERVICE_UNAVAILABLE,
        20, "a word of it",
    )  # fmt: skip
    assert sick
    until(lambda: httpx.get(f"{site.page}/healthz").status_code == httpx.codes.OK, 120, "it")
    assert (site.api, site.calls.auth) == before
    assert "the Prefect server exited" in (site.root / "marks" / "said").read_text()
    identity = site.start()
    until(lambda: site.state(identity) == "COMPLETED", 120, "a run after it", every_s=0.3)
    assert (site.root / ".synthct" / "serving.url").exists()
