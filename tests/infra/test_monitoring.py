"""Boards and rules: valid, in step with their source, and asking only for what is exported."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import shutil
import subprocess
import time
from types import SimpleNamespace

import httpx
import pytest
import yaml

from synthct.flows.clusters.activity import watched
from synthct.flows.clusters.opening import open_cluster
from synthct.flows.clusters.started import Cluster
from synthct.flows.serve import metrics, prometheus
from synthct.flows.serve.pages import pages
from synthct.flows.serve.runs import Answer, Due, Run, Watcher, about
from synthct.flows.serve.snapshot import Observer
from synthct.flows.serve.watcher_state import watcher_states
from tests.conftest import skip_or_fail
from tests.infra.promql import MONITORING, expressions, names, told

NOW_S = 1_795_000_000.0

FIRING = ("RunFailed", "RunsLate")
"""Alerts whose condition holds in the fixture: a failed run, and one that is late."""

NOTHING_TO_SHOW = {"cluster: GPU busy", "cluster: GPU memory"}
"""Panels that are empty there: a machine without GPU has no such series."""


def promtool(*arguments: str) -> str:
    tool = shutil.which("promtool")
    if tool is None:
        skip_or_fail("promtool", "promtool is absent (apt-get install prometheus)")
    done = subprocess.run(
        [str(tool), *arguments], capture_output=True, text=True, check=False, cwd=MONITORING
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_boards_are_not_what_their_source_makes():
    spec = importlib.util.spec_from_file_location("make_boards", MONITORING / "make_boards.py")
    source = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(source)
    assert {file.stem for file in (MONITORING / "boards").glob("*.json")} == set(source.BOARDS)
    for name in source.BOARDS:
        assert (MONITORING / "boards" / f"{name}.json").read_text() == source.text(name)


def test_prometheus_refuses_the_rules_or_the_configuration(tmp_path):
    assert "19 rules found" in promtool("check", "rules", "alerts.yaml")
    promtool("check", "config", "prometheus.yaml")


def test_prometheus_refuses_an_expression_of_a_board(tmp_path):
    rules = [
        {"record": f"board:{number}", "expr": expression}
        for number, expression in enumerate(expressions().values())
    ]
    (tmp_path / "boards.yaml").write_text(
        yaml.safe_dump({"groups": [{"name": "boards", "rules": rules}]})
    )
    promtool("check", "rules", str(tmp_path / "boards.yaml"))


@pytest.fixture
def answer():
    """A server with a good, a failed and a running run, and one planned."""
    runs = tuple(
        Run(state, state.lower(), "demo", "run", state, "", NOW_S - 900, end, 60.0, True)
        for state, end in (("RUNNING", None), ("FAILED", NOW_S - 60), ("COMPLETED", NOW_S - 600))
    )
    return Answer(True, runs, (Due("nightly", NOW_S + 3600),), late=1)


@pytest.fixture
def root(tmp_path):
    """A checkout with a run that trains, and with tables of results."""
    record = tmp_path / ".synthct" / "runs" / "20261124-020000-ab12"
    record.mkdir(parents=True)
    events = [
        {"kind": "stage_started", "stage": "training", "time_s": NOW_S},
        {"kind": "units_planned", "stage": "training", "total": 4, "reused": 1},
        {"kind": "step", "stage": "training", "unit": "mr_fold0", "step": 5, "total": 10,
         "terms": {"l1": 0.25, "total_variation": 0.5}, "patches_per_s": 12.5,
         "best_validation_mae_hu": 71.5},
        {"kind": "unit_failed", "stage": "training", "unit": "mr_fold1", "error": "x"},
        {"kind": "unit_retried", "unit": "mr_fold1", "error": "x", "wait_s": 1},
        {"kind": "stage_done", "stage": "training", "time_s": NOW_S + 30},
    ]  # fmt: skip
    (record / "events.jsonl").write_text("".join(json.dumps(each) + "\n" for each in events))
    tables = {
        "ingestion/quality.csv": "patient,modality,body_median\nA,MR,100\nB,MR,300\nC,MR,120\n",
        "registration/quality.csv": "case,source,verdict\nA_mr,mr,pass\n"
        "B_mr,mr,fail\nC_mr,mr,pass\n",
        "evaluation/scores.csv": "case,source,method,reference,metric,value\n"
        "A_mr,mr,model,registered,mae_hu,40\nB_mr,mr,model,registered,mae_hu,60\n",
    }
    for name, text in tables.items():
        file = tmp_path / "data" / "artefacts" / name
        file.parent.mkdir(parents=True)
        file.write_text(text)
    return tmp_path


@pytest.fixture
def exporter(root, answer, monkeypatch):
    """Address of the exporter, which answers as long as the test runs."""
    monkeypatch.setattr("synthct.flows.serve.snapshot.ask", lambda _: answer)
    observer = Observer(root, "http://127.0.0.1:1/api", root / "units")
    workers = [{
        "name": "0", "address": "tcp://127.0.0.1:1", "threads": 1, "gpus": 0.0,
        "memory_bytes": 5, "memory_limit_bytes": 10, "spilled_bytes": 0, "cpu_percent": 99.0,
        "executing": 1, "ready": 0,
    }]  # fmt: skip
    cluster = Cluster("tcp://127.0.0.1:1", "http://127.0.0.1:1/status", workers=lambda: workers)
    (record,) = (root / ".synthct" / "runs").iterdir()
    found = {"/metrics": lambda: ("text/plain", metrics.exposition(observer.snapshot()))}
    with watched(cluster, record), pages(0, found) as address:
        deadline = time.monotonic() + 5
        while not (record / "cluster.json").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        yield address


@pytest.fixture
def scraped(exporter):
    """What Prometheus would read, over HTTP."""
    return httpx.get(f"{exporter}/metrics").text


@pytest.mark.parametrize(
    "line",
    [
        "synthct_prefect_up 1.0",
        "synthct_runs_late 1.0",
        'synthct_runs{state="failed",workspace="demo"} 1.0',
        f'synthct_last_success_timestamp_seconds{{what="run",workspace="demo"}} {NOW_S - 600}',
        'synthct_last_run_failed{workspace="demo"} 1.0',
        'synthct_run_seconds{workspace="demo"} 60.0',
        f'synthct_next_run_timestamp_seconds{{deployment="nightly"}} {NOW_S + 3600}',
        'synthct_stage_seconds{stage="training"} 30.0',
        "synthct_recent_unit_failed 1.0",
        "synthct_recent_unit_retried 1.0",
        "synthct_workers 1.0",
        'synthct_worker_memory_bytes{worker="0"} 5.0',
        'synthct_training_loss{term="total_variation",unit="mr_fold0"} 0.5',
        'synthct_training_validation_mae_hu{unit="mr_fold0"} 71.5',
        'synthct_training_patches_per_second{unit="mr_fold0"} 12.5',
        'synthct_registration_cases{source="mr",verdict="pass",workspace="demo"} 2.0',
        'synthct_input_body_median{modality="MR",of="median",workspace="demo"} 120.0',
        'synthct_input_body_median{modality="MR",of="largest",workspace="demo"} 300.0',
    ],
)
def test_the_exporter_tells_another_number(line, scraped):
    import re

    name, _, value = line.rpartition(" ")
    (found,) = re.findall(rf"^{re.escape(name)} (\S+)$", scraped, flags=re.MULTILINE)
    assert float(found) == pytest.approx(float(value))


def test_a_batch_is_taken_for_a_look_of_the_watcher():
    """A batch runs inside a look, and only when scans came: the alert is about looks."""
    look = about({"what": "watch", "options": {"inbox": "incoming"}})
    batch = about({"scans": ["0123456789abcdef"]})
    assert look == ("watch", "watch incoming")
    ended_s = time.time()
    of_batch = Run("1", "b", batch[1], batch[0], "COMPLETED", "", 0.0, ended_s, 1.0, False)
    of_look = Run("2", "l", look[1], look[0], "COMPLETED", "", 0.0, ended_s, 1.0, True)
    for runs, blind in (((of_batch,), True), ((of_batch, of_look), False)):
        told = Answer(True, runs, watchers=(Watcher(look[1], "predicted", True),))
        (mine,) = watcher_states(told, MONITORING, ended_s - 4000)
        assert (mine.since_poll_s > 1800) is blind


def test_the_score_is_not_the_mean_over_cases(scraped):
    (line,) = [each for each in scraped.splitlines() if each.startswith("synthct_score{")]
    assert 'metric="mae_hu"' in line
    assert line.endswith(" 50.0")


def test_a_board_or_a_rule_asks_for_a_number_that_nobody_tells(scraped, request):
    with open_cluster("local", workers=1, root=request.config.rootpath, variables={}) as cluster:
        dask = httpx.get(cluster.dashboard.replace("/status", "/metrics")).text
    known = told(scraped) | told(dask) | {"up"}  # Prometheus adds `up` to every scrape
    unknown = {where: names(e) - known for where, e in expressions().items() if names(e) - known}
    assert unknown == {}
    assert "synthct_score" in names(expressions()["alert: ScoreDrift"]), "names are found at all"


@pytest.mark.slow
def test_a_real_prometheus_answers_a_panel_with_an_error_or_evaluates_no_rule(
    exporter, tmp_path, request
):
    if not prometheus.installed():
        skip_or_fail("promtool", "Prometheus is absent (apt-get install prometheus)")
    root = request.config.rootpath
    with open_cluster("local", workers=1, root=root, variables={}) as cluster:
        service = prometheus.Prometheus(root, tmp_path / "prometheus", exporter)
        record = SimpleNamespace(cluster={"dashboard": cluster.dashboard})
        service.follow(SimpleNamespace(records=[record]))

        def ask(path: str, **query: str) -> dict:
            answer = httpx.get(f"{service.address}/api/v1/{path}", params=query, timeout=60)
            assert answer.status_code == httpx.codes.OK, answer.text
            return answer.json()["data"]

        try:
            _until_scraped(service.address)
            found = {where: ask("query", query=e)["result"] for where, e in expressions().items()}
            (group,) = ask("rules")["groups"]
        finally:
            service.stop()
    assert [rule["name"] for rule in group["rules"] if rule["health"] != "ok"] == []
    assert {alert for alert in FIRING if not found[f"alert: {alert}"]} == set()
    empty = {where for where, result in found.items() if not result and "alert" not in where}
    assert empty == NOTHING_TO_SHOW


def _until_scraped(address: str) -> None:
    """Both jobs were scraped and the rules evaluated once."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.HTTPError):
            targets = httpx.get(f"{address}/api/v1/targets").json()["data"]["activeTargets"]
            rules = httpx.get(f"{address}/api/v1/rules").json()["data"]["groups"][0]["rules"]
            health = {each["labels"]["job"]: each["health"] for each in targets}
            if health == {"synthct": "up", "dask": "up"} and all(
                rule["health"] == "ok" for rule in rules
            ):
                return
        time.sleep(1)
    pytest.fail(f"not scraped within two minutes: {targets}, {rules}")


def test_an_exported_number_is_on_no_board_and_in_no_rule(scraped):
    asked = set().union(*(names(expression) for expression in expressions().values()))
    beside = {"synthct_active", "synthct_memory_total_bytes"}
    assert {name for name in told(scraped) if name.startswith("synthct_")} - asked - beside == set()


def test_an_alert_has_no_word_in_the_operations_page():
    page = (MONITORING.parents[1] / "docs" / "how-to" / "operations.md").read_text()
    rules = yaml.safe_load((MONITORING / "alerts.yaml").read_text())["groups"][0]["rules"]
    assert [r["alert"] for r in rules if f"`{r['alert']}`" not in page] == []
