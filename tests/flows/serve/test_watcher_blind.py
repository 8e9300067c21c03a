"""The alert WatcherBlind has something to go by, whatever is wrong with the watcher."""

from __future__ import annotations

import json
import time

import pytest
import yaml

from synthct.flows.serve import runs
from synthct.flows.serve.runs import Answer, Run, Watcher
from synthct.flows.serve.watcher_state import watcher_states
from tests.infra.promql import MONITORING, names

LIMIT_S = 1800.0
WATCHER = Watcher("watch incoming", "predicted", on=True)


def look(root, *, since_s=4000.0, ended=(), watcher=WATCHER):
    """What is told of the watcher; runs as (state, seconds ago)."""
    now_s = time.time()
    past = tuple(
        Run(str(n), "look", watcher.workspace, "watch", state, "", 0.0, now_s - ago_s, 1.0, True)
        for n, (state, ago_s) in enumerate(ended)
    )
    return list(watcher_states(Answer(True, past, watchers=(watcher,)), root, now_s - since_s))


def left(root, **facts):
    file = root / "predicted/.looks/last.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({"looked_s": time.time(), **facts}))


def test_a_watcher_that_never_polled_successfully_is_not_reported(tmp_path):
    """There is no time of its newest success, and an absent number fires no alert."""
    (mine,) = look(tmp_path, ended=[("FAILED", 10), ("CRASHED", 300)])
    assert mine.since_poll_s > LIMIT_S


def test_a_service_that_has_just_started_is_reported_to_be_blind(tmp_path):
    (mine,) = look(tmp_path, since_s=20.0)
    assert mine.since_poll_s < 60


def test_a_watcher_that_polls_but_predicts_nothing_is_not_reported(tmp_path):
    left(tmp_path, waiting=1, oldest_s=2000)
    (mine,) = look(tmp_path, ended=[("COMPLETED", 10)])
    assert mine.since_poll_s < 60
    assert mine.waiting == 1
    assert mine.oldest_s > LIMIT_S


@pytest.mark.parametrize("facts", [{"waiting": 0, "oldest_s": 9e9}, {}, {"waiting": "x"}])
def test_a_watcher_that_does_its_work_is_reported_to_be_blind(facts, tmp_path):
    left(tmp_path, **facts)
    (mine,) = look(tmp_path, ended=[("COMPLETED", 10)])
    assert (mine.waiting, mine.oldest_s) == (0, 0.0)


def test_a_watcher_whose_schedule_is_off_is_reported_to_be_blind(tmp_path):
    assert look(tmp_path, watcher=Watcher("watch incoming", "predicted", on=False)) == []


def test_three_failed_polls_hide_the_last_successful_one():
    asked = []

    class Server:
        def ask(self, path, **body):
            asked.append(body)
            return [{"id": str(len(asked)), "start_time": ""}]

    watcher = {"id": "w", "parameters": {"what": "watch"}}
    assert len(runs._newest(Server(), [watcher])) == 4
    wanted = [body["flow_runs"]["state"]["type"] for body in asked]
    assert {"any_": ["COMPLETED"]} in wanted


def test_the_alert_asks_for_other_numbers():
    groups = yaml.safe_load((MONITORING / "alerts.yaml").read_text())["groups"]
    (rule,) = [r for g in groups for r in g["rules"] if r["alert"] == "WatcherBlind"]
    assert names(rule["expr"]) == {
        "synthct_watcher_blind_seconds", "synthct_watcher_oldest_waiting_seconds",
    }  # fmt: skip
    assert rule["expr"].count(f"> {LIMIT_S:.0f}") == 2
