"""The real chain, tiny, as a schedule starts it: what is current is restored, not made again."""

from __future__ import annotations

import subprocess
import sys
import time

import httpx
import pytest

from tests.flows.serve.conftest import free_port


def git(checkout, *arguments):
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    return checkout.run("git", *identity, *arguments).stdout


def run_once(checkout, **parameters):
    """The nightly deployment, now; its final state and the lines of its log."""
    deadline = time.monotonic() + 120
    file = checkout.root / ".synthct" / "serving.url"
    while not file.exists() or not (found := _deployments(file.read_text())):
        assert time.monotonic() < deadline
        time.sleep(0.5)
    api = file.read_text()
    url = f"{api}/deployments/{found[0]['id']}/create_flow_run"
    body = {"state": {"type": "SCHEDULED"}, "parameters": parameters}
    identity = httpx.post(url, json=body, timeout=30).json()["id"]
    while True:
        run = httpx.get(f"{api}/flow_runs/{identity}", timeout=30).json()
        if run["state_type"] in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED"):
            break
        time.sleep(1.0)
    time.sleep(3.0)  # the last log lines
    wanted = {"flow_run_id": {"any_": [identity]}}
    lines = httpx.post(f"{api}/logs/filter", json={"logs": wanted}, timeout=30).json()
    return run["state_type"], [line["message"] for line in lines]


def _deployments(api):
    try:
        return httpx.post(f"{api}/deployments/filter", json={}, timeout=30).json()
    except httpx.HTTPError:
        return []


@pytest.mark.slow
def test_a_scheduled_run_makes_again_what_is_current_or_touches_the_checkout(reproduced, copy_of):
    site = copy_of(reproduced, "site")
    git(site, "add", "-A")
    git(site, "commit", "-qm", "first run")
    before = site.outs()
    port = free_port()
    with (site.root.parent / "said").open("w+") as said:
        serving = subprocess.Popen(
            [sys.executable, "-m", "flows", "serve", "--port", str(port)],
            cwd=site.root, env=site.environment | {"PYTHONPATH": str(site.root)},
            stdout=said, stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            state, lines = run_once(site, cluster="here", overrides={"report.slices_per_case": 2})
            scrape = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=30).text
        finally:
            serving.terminate()
            serving.wait(30)
    told = "\n".join(lines)
    assert state == "COMPLETED", told
    assert "to build: report;" in told
    assert "report: ran" in told
    assert site.outs() == before
    assert "slices_per_case: 2" in git(site, "show", "scheduled/demo:params.yaml")
    assert (site.root / ".synthct/scheduled/demo/report/index.html").is_file()
    assert 'synthct_score{method="model",metric="mae_hu"' in scrape
    assert 'synthct_stage_seconds{stage="report"}' in scrape
