"""Scheduled runs, for real: what starts, which code runs, how it is stopped, who is notified."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time

import httpx
import psutil
import pytest

from synthct.data.errors import MachineError, UsageError
from synthct.flows.serve.serving import Ports, absolute_places, serve
from tests.flows.serve.conftest import write_toy_release


def told(site, identity, until):
    """What the run's own process said of itself; log lines arrive after a while."""
    lines = until(
        lambda: [each for each in site.words(identity) if each.startswith('{"cwd"')], 20, "words"
    )
    return json.loads(lines[0])


def ended(site, identity, until, seconds=90):
    """Type of the state that a run came to."""
    last = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
    until(lambda: site.state(identity) in last, seconds, f"the end of {identity}", every_s=0.3)
    return site.state(identity)


def waiting(site, until):
    """Process of a run that waits."""
    marks = site.root / "marks"
    mark = until(lambda: next(iter(marks.glob("waiting-*")), None), 90, "a run that waits")
    pid = int(mark.name.split("-")[1])
    mark.unlink()
    return psutil.Process(pid)


def test_a_run_uses_the_persons_checkout_or_code_from_elsewhere(site, until):
    (site.root / "params.yaml").write_text("dataset: demo\nseed: 99\n")  # not committed
    identity = site.start(workers=2, overrides={"training.folds": 5})
    assert ended(site, identity, until) == "COMPLETED", site.words(identity)
    said = told(site, identity, until)
    assert said["cwd"].startswith(str(site.root / ".synthct/worktrees/demo."))
    assert said["code"] == f"{said['cwd']}/src/synthct/flows/__init__.py"
    assert said["arguments"][:5] == ["run", "--cluster", "here", "--workers", "2"]
    assert said["api"] == site.api
    assert said["runs"] == str(site.root / ".synthct/runs")
    assert "seed: 1\n" in said["params"], "what is committed runs, not what lies about"
    assert "folds: 5" in said["params"]
    assert list((site.root / ".synthct/worktrees").iterdir()) == []
    git = ["git", "show", "--stat", "--format=%s", "scheduled/demo"]
    kept = subprocess.run(git, cwd=site.root, capture_output=True, text=True, check=True).stdout
    assert kept.startswith("Scheduled run")
    assert "dvc.lock" in kept
    assert (site.root / "params.yaml").read_text() == "dataset: demo\nseed: 99\n"


@pytest.mark.slow
def test_a_failed_run_is_not_told_to_the_chat_or_told_twice(site, until):
    identity = site.start(until="fail")
    assert ended(site, identity, until) == "FAILED"
    until(lambda: any("three axes" in line for line in site.words(identity)), 20, "words")
    name = site.run(identity)["name"]
    until(lambda: [each for each in site.heard if each["run"] == name], 30, "a word to the chat")
    time.sleep(6)  # one more look
    (word,) = [each for each in site.heard if each["run"] == name]
    assert word["state"] == "failed"
    assert word["text"].startswith("synthct demo: failed after")
    assert word["text"].endswith("the next run resumes where it stopped")
    assert "encountered an exception" not in word["text"]


def test_a_second_run_starts_beside_the_first_and_cancelling_leaves_a_process(site, until):
    first = site.start(until="wait")
    stage = waiting(site, until)
    keeper = stage.parent()
    second = site.start()
    assert ended(site, second, until) == "CANCELLED"
    assert site.state(first) == "RUNNING"
    site.ask(f"/flow_runs/{first}/set_state", state={"type": "CANCELLING"}, force=True)
    assert ended(site, first, until) == "CANCELLED"
    until(lambda: not stage.is_running() and not keeper.is_running(), 10, "the end of the stage")


@pytest.mark.slow
def test_a_run_whose_process_was_killed_stays_running(site, until):
    identity = site.start(until="wait")
    stage = waiting(site, until)
    engine = next(each for each in stage.parents() if "prefect" in " ".join(each.cmdline()))
    engine.kill()
    assert ended(site, identity, until, 120) == "CRASHED"
    until(lambda: not stage.is_running(), 10, "the end of the stage")


@pytest.mark.slow
def test_the_weekly_study_runs_in_the_checkout_or_leaves_nothing(site, until):
    identity = site.start("weekly-study", overrides={"training.folds": 4})
    assert ended(site, identity, until) == "COMPLETED", site.words(identity)
    said = told(site, identity, until)
    assert said["cwd"].startswith(str(site.root / ".synthct/worktrees/study."))
    assert said["code"] == f"{said['cwd']}/src/synthct/flows/__init__.py"
    grid = ["--grid", "presets/study.yaml"]
    assert said["arguments"] == ["study", *grid, "--cluster", "here"]
    git = ["git", "show", "scheduled/study:workspaces/study/params.yaml"]
    kept = subprocess.run(git, cwd=site.root, capture_output=True, text=True, check=True).stdout
    assert "folds: 4" in kept
    assert (site.root / ".synthct/scheduled/study/study/index.html").read_text() == "effects"
    assert not (site.root / "workspaces").exists()
    assert list((site.root / ".synthct/worktrees").iterdir()) == []


@pytest.mark.slow
def test_the_watcher_polls_in_a_worktree_or_a_quarantined_scan_is_not_reported(site, until):
    """It is the real one, with the code of the server; release and folders are the checkout's."""
    (site.root / "incoming").mkdir()
    write_toy_release(site.root / "release")
    identity = site.start("watcher")
    assert ended(site, identity, until) == "COMPLETED", site.words(identity)
    assert (site.root / "predicted" / ".looks").is_dir()
    (site.root / "incoming" / "scan.mha").touch()
    second = site.start("watcher")
    assert ended(site, second, until) == "COMPLETED", site.words(second)
    assert list((site.root / "predicted" / "quarantine").iterdir())
    name = site.run(second)["name"]
    until(lambda: [each for each in site.heard if each["run"] == name], 30, "a word to the chat")
    (word,) = [each for each in site.heard if each["workspace"] == "watch incoming"]
    assert word["text"].endswith("scans were quarantined: predicted/quarantine")


@pytest.mark.slow
def test_two_deployments_build_one_workspace_at_once(site, until):
    """The limit of Prefect is a deployment's; the workspace has a lock of its own."""
    first = site.start(until="wait")
    stage = waiting(site, until)
    second = site.start("weekly-study", what="run", preset=None)
    assert ended(site, second, until) == "CANCELLED"
    assert "worked on by another run" in site.run(second)["state"]["message"]
    stage.kill()
    assert ended(site, first, until) == "FAILED"


@pytest.mark.slow
def test_a_scheduled_job_of_an_unknown_kind_starts_something(site, until):
    identity = site.start(what="stdy")
    assert ended(site, identity, until) == "FAILED"
    assert "one of run, study, watch" in site.run(identity)["state"]["message"]


def test_the_page_says_nothing_or_believes_a_foreign_name(site):
    page = httpx.get(site.page)
    assert page.status_code == 200
    states = {run["state_type"].lower() for run in site.ask("/flow_runs/filter")} - {"scheduled"}
    assert {"completed", "cancelled"} <= states
    for word in ("nightly", "watcher", "off:", "demo", *states):
        assert word in page.text
    assert "<script" not in page.text
    assert httpx.get(f"{site.page}/status.json").json()["prefect_up"] is True
    assert httpx.get(site.page, headers={"Host": "evil.example"}).status_code == 403
    assert httpx.get(f"{site.page}/etc/passwd").status_code == 404


def test_what_serves_imports_prefect_before_its_server_has_an_address():
    """Prefect reads its settings once: it would then start a server that nobody sees."""
    code = "import sys, synthct.flows.serve.serving; print('prefect' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_a_relative_path_is_resolved_in_a_runs_worktree(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SYNTHCT_UNITS", "units")
    monkeypatch.setenv("SYNTHCT_ARRAYS", "s3://bucket/arrays")
    monkeypatch.setenv("SYNTHCT_TLS", ".synthct/tls")
    found = absolute_places()
    assert found == {
        "SYNTHCT_UNITS": str(tmp_path / "units"), "SYNTHCT_TLS": str(tmp_path / ".synthct/tls"),
    }  # fmt: skip


def test_two_serve_one_checkout(site):
    with pytest.raises(UsageError, match="another `synthct serve` is running"):
        serve(site.root, Ports(page=1), print)


def test_a_page_whose_port_is_taken_is_reported_after_the_server_came_up(tmp_path):
    (tmp_path / "prefect.yaml").write_text("deployments: [{name: nightly}]\n")
    said = []
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(MachineError, match=f"127.0.0.1:{port}.*choose another --port"):
            serve(tmp_path, Ports(page=port), said.append)
    assert said == []
    assert not (tmp_path / ".synthct" / "prefect").exists()


def test_starts_in_a_row_leave_more_than_one_automation(site, monkeypatch):
    from synthct.flows.run.journal import at_server
    from synthct.flows.serve.automations import SILENT, ensure_automations

    monkeypatch.setenv("PREFECT_API_AUTH_STRING", site.calls.auth)
    with at_server(site.api):
        ensure_automations()
        ensure_automations()
    (mine,) = [each for each in site.ask("/automations/filter") if each["name"] == SILENT]
    assert mine["enabled"]
    assert mine["trigger"]["within"] == 90.0


@pytest.mark.slow
def test_a_schedule_that_is_due_starts_nothing(site, until):
    """Of the study and of the watcher, whose schedule is off until a person sets its paths."""
    (site.root / "incoming").mkdir(exist_ok=True)
    found = {each["name"]: each for each in site.ask("/deployments/filter")}
    on = {name: [each["active"] for each in found[name]["schedules"]] for name in found}
    assert on == {"nightly": [True], "weekly-study": [True], "watcher": [False]}

    def turn(name, **schedule):
        (mine,) = found[name]["schedules"]
        path = f"/deployments/{found[name]['id']}/schedules/{mine['id']}"
        site.ask(path, method="PATCH", **schedule)

    def done(name):
        wanted = {"deployment_id": {"any_": [found[name]["id"]]}}
        runs = site.ask("/flow_runs/filter", flow_runs=wanted)
        return any(each["auto_scheduled"] and each["state_type"] == "COMPLETED" for each in runs)

    for name in ("weekly-study", "watcher"):
        turn(name, active=True, schedule={"interval": 20})
    try:
        until(lambda: done("weekly-study") and done("watcher"), 120, "runs that nobody started")
    finally:
        for name in ("weekly-study", "watcher"):
            turn(name, active=False)


def test_something_outlives_a_serve_that_was_stopped(site, until):
    """Last: it ends the shared site."""
    site.start(until="wait")
    stage = waiting(site, until)
    family = psutil.Process(site.process.pid).children(recursive=True)
    assert stage in family
    site.process.send_signal(signal.SIGTERM)
    assert site.process.wait(30) == 0
    _, alive = psutil.wait_procs(family, timeout=5)
    assert alive == []
    assert not (site.root / ".synthct/serving.url").exists()
