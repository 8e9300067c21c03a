"""The real chain, study and watcher, tiny, as a schedule starts them."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
import time

import httpx
import pytest
import yaml

from synthct.data.tables import read_table
from synthct.flows.run.prefect_api import Api
from synthct.flows.run.prefect_server import START_TIMEOUT_S, read_password
from tests.flows.serve.conftest import free_port

ENDED = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")


def git(checkout, *arguments):
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    return checkout.run("git", *identity, *arguments).stdout


@contextlib.contextmanager
def serving(checkout):
    """`synthct serve` of a checkout; the address of its page."""
    port = free_port()
    with (checkout.root.parent / "said").open("w+") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "synthct.flows", "serve", "--port", str(port)],
            cwd=checkout.root,
            env=checkout.environment | {"PYTHONPATH": str(checkout.root / "src")},
            stdout=said, stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(30)


def deployments(checkout):
    """(API, deployments by name) once all three are there."""
    deadline = time.monotonic() + START_TIMEOUT_S
    file = checkout.root / ".synthct" / "serving.url"
    while not file.exists() or len(found := _deployments(api := _api(checkout, file))) < 3:
        assert time.monotonic() < deadline
        time.sleep(0.5)
    return api, {each["name"]: each["id"] for each in found}


def _api(checkout, file):
    url = file.read_text()
    return Api(url, read_password(checkout.root / ".synthct" / "prefect", url), timeout_s=120)


def _deployments(api):
    try:
        return api.ask("/deployments/filter")
    except httpx.HTTPError:
        return []


def lines_of(api, identity):
    """The log of a run."""
    time.sleep(3.0)  # the last log lines
    wanted = {"flow_run_id": {"any_": [identity]}}
    found = api.ask("/logs/filter", logs=wanted)
    return "\n".join(line["message"] for line in found)


def run_once(checkout, **parameters):
    """The nightly deployment, now; its final state and its log."""
    api, found = deployments(checkout)
    path = f"/deployments/{found['nightly']}/create_flow_run"
    body = {"state": {"type": "SCHEDULED"}, "parameters": parameters}
    for _ in range(20):
        answer = api.request(path, "POST", body)
        if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
            break
        time.sleep(0.5)  # SQLite was busy: Prefect's own client asks again too
    answer.raise_for_status()
    identity = answer.json()["id"]
    while True:
        run = api.ask(f"/flow_runs/{identity}", method="GET")
        if run.get("state_type") in ENDED:
            return run["state_type"], lines_of(api, identity)
        time.sleep(1.0)


def first_by_the_clock(api, deployment, seconds):
    """The first run that a schedule started and that was not turned away; its end."""
    wanted = {"flow_runs": {"deployment_id": {"any_": [deployment]}}, "sort": "START_TIME_ASC"}
    deadline = time.monotonic() + seconds
    while True:
        found = api.ask("/flow_runs/filter", **wanted)
        for run in found:
            if run["auto_scheduled"] and run["state_type"] in ("COMPLETED", "FAILED", "CRASHED"):
                return run["state_type"], lines_of(api, run["id"])
        assert time.monotonic() < deadline, found
        time.sleep(2.0)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_scheduled_run_makes_again_what_is_current_or_touches_the_checkout(reproduced, copy_of):
    site = copy_of(reproduced, "site")
    git(site, "add", "-A")
    git(site, "commit", "-qm", "first run")
    before = site.outs()
    with serving(site) as page:
        state, told = run_once(site, cluster="here", overrides={"report.slices_per_case": 2})
        scrape = httpx.get(f"{page}/metrics", timeout=30).text
    assert state == "COMPLETED", told
    assert "to build: report;" in told
    assert "report: ran" in told
    assert site.outs() == before
    assert "slices_per_case: 2" in git(site, "show", "scheduled/demo:params.yaml")
    assert (site.root / ".synthct/scheduled/demo/report/index.html").is_file()
    assert 'synthct_score{method="model",metric="mae_hu"' in scrape
    assert 'synthct_stage_seconds{stage="report"}' in scrape


GRID = {
    "dataset": "study",
    "study": {
        "source": "mr",
        "pairs": [{"name": "clean"}],
        "arms": [{"name": "norm_loss", "regularizers": [{"name": "norm_loss", "weight": 0.001}]}],
    },
}


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_study_or_the_watcher_does_not_run_when_its_schedule_says_so(
    reproduced, copy_of, tiny_params
):
    """Nobody starts them: cron does, within a minute each; the nightly one is not due."""
    site = copy_of(reproduced, "site")
    params = yaml.safe_load(tiny_params)
    params["training"] |= {"sources": ["mr"], "smallest_training": 1}
    (site.root / "presets" / "study.yaml").write_text(yaml.safe_dump(params | GRID))
    document = yaml.safe_load((site.root / "prefect.yaml").read_text())
    for entry in document["deployments"][1:]:
        entry["schedules"] = [{"cron": "* * * * *", "timezone": "UTC", "active": True}]
    document["deployments"][1]["parameters"]["cluster"] = "here"
    (site.root / "prefect.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    git(site, "add", "-A")
    git(site, "commit", "-qm", "every minute")
    before = site.outs()
    shutil.copytree(site.root / "data/raw/demo/TH-01/mr", site.root / "incoming" / "scan")
    with serving(site) as page:
        api, found = deployments(site)
        watched, words = first_by_the_clock(api, found["watcher"], 300)
        assert watched == "COMPLETED", words
        studied, told = first_by_the_clock(api, found["weekly-study"], 900)
        assert studied == "COMPLETED", told
        scrape = httpx.get(f"{page}/metrics", timeout=30).text
    (done,) = (site.root / "predicted" / "done").iterdir()
    assert any(done.iterdir())
    assert git(site, "status", "--porcelain") == "", "scans and predictions are none of git's"
    kept = site.root / ".synthct" / "scheduled" / "study" / "study"
    assert {row["arm"] for row in read_table(kept / "effects.csv")} == {"norm_loss"}
    assert json.loads((kept / "summary.json").read_text())
    lock = yaml.safe_load(git(site, "show", "scheduled/study:workspaces/study/dvc.lock"))
    assert "study" in lock["stages"]
    assert not (site.root / "workspaces" / "study").exists()
    assert site.outs() == before
    for what, workspace in (("study", "study"), ("watch", "watch incoming")):
        line = f'synthct_last_success_timestamp_seconds{{what="{what}",workspace="{workspace}"}}'
        assert line in scrape


@contextlib.contextmanager
def nodes(checkout, port, count=2):
    """A scheduler and workers as docs/how-to/operations.md starts them on bare nodes."""
    folder = checkout.root / ".synthct" / "tls"
    tls = [
        "--tls-ca-file", f"{folder}/ca.pem", "--tls-cert", f"{folder}/node.pem",
        "--tls-key", f"{folder}/node.key",
    ]  # fmt: skip
    environment = checkout.environment | {
        "PYTHONPATH": str(checkout.root / "src"), "DASK_CONFIG": "infra/local/dask.yaml",
    }  # fmt: skip
    commands = [
        ["scheduler", "--protocol", "tls", "--host", "127.0.0.1", "--port", str(port)],
        ["worker", f"tls://127.0.0.1:{port}", "--nthreads", "1", "--nworkers", str(count)],
    ]
    with (checkout.root.parent / "nodes.log").open("a") as log:
        started = [
            subprocess.Popen(
                ["dask", *command, *tls, "--no-dashboard"], cwd=checkout.root, env=environment,
                stdout=log, stderr=log,
            )
            for command in commands
        ]  # fmt: skip
        try:
            yield f"tls://127.0.0.1:{port}"
        finally:
            for process in reversed(started):
                process.terminate()
                process.wait(60)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_bare_nodes_do_not_carry_a_scheduled_run_or_answer_for_code_they_do_not_have(
    reproduced, copy_of
):
    site = copy_of(reproduced, "site")
    site.run(
        "python",
        "-m",
        "synthct.flows.clusters.authority",
        ".synthct/tls",
        PYTHONPATH=str(site.root / "src"),
    )
    git(site, "add", "-A")
    git(site, "commit", "-qm", "first run")
    port = free_port()
    site.extra["SYNTHCT_CLUSTER"] = f"tls://127.0.0.1:{port}"
    overrides = {"evaluation.tta": True}
    with serving(site):
        with nodes(site, port):
            state, told = run_once(site, overrides=overrides)
            assert state == "COMPLETED", told
            assert "evaluation: ran" in told
            done = site.published() - reproduced.published()
            assert done
            code = site.root / "tasks" / "evaluation" / "predict.py"
            code.write_text(code.read_text() + "\n_NEWER = True\n")
            git(site, "commit", "-qam", "code that no worker has")
            state, told = run_once(site, until="evaluation", overrides=overrides)
            assert state == "FAILED", told
            assert "the worker runs other code than this run" in told
            assert site.published() - reproduced.published() == done
        with nodes(site, port):
            state, told = run_once(site, until="evaluation", overrides=overrides)
    assert state == "COMPLETED", told
    assert site.published() - reproduced.published() > done
