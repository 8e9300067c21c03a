"""What a run is said to take before it starts: every stage has a time, and the basis is named."""

from __future__ import annotations

import json

import pytest

from synthct.data.environment import RUNS
from synthct.flows.run.expected import BEFORE, NOW, TYPICAL, earlier, expected_of
from synthct.flows.run.running import RUN, new_record
from synthct.flows.workspace.needs import needs_line
from synthct.flows.workspace.proposal import Fingerprint
from synthct.tasks.chain.params import parse_params
from synthct.tasks.training.probe import Probed

PARAMS = parse_params("dataset: mine\ntraining: {sources: [mr], folds: 4}\n", where="here")
FOUND = Fingerprint({"mr": 8}, 8, {"thorax": 8}, (3.0, 1.0, 1.0), (240.0, 300.0, 400.0))
STAGES = ("ingestion", "registration", "training", "evaluation", "export", "report")
PROBED = (Probed("mr", 0.5, 4, 100, 2),)


def times(at_once=2, found=FOUND, params=PARAMS, **known):
    told = expected_of(params, found, STAGES, PROBED, at_once, known)
    return {each.stage: each for each in told.stages}


def test_a_stage_has_no_time_or_a_time_without_its_basis():
    told = times(registration=40.0)
    assert all(each.seconds > 0 for each in told.values())
    assert told["training"].basis == NOW
    assert told["registration"].basis == BEFORE
    assert told["evaluation"].basis == TYPICAL


def test_more_workers_or_fewer_cases_take_no_less_time():
    few = Fingerprint({"mr": 2}, 2, {"thorax": 2}, FOUND.spacing_mm, FOUND.extent_mm)
    for stage in ("ingestion", "registration", "evaluation"):
        assert times(8)[stage].seconds < times(2)[stage].seconds
        assert times(2, few)[stage].seconds < times(2)[stage].seconds
    assert times(registration=40.0)["registration"].seconds == pytest.approx(4 * 40.0, abs=10)


def test_published_parameters_are_said_to_be_as_fast_as_those_of_the_demo():
    demo = parse_params("dataset: mine\nregistration: {variant: demo}\n", where="here")
    assert times()["registration"].seconds > 2 * times(params=demo)["registration"].seconds


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.setenv(RUNS, str(tmp_path))
    return tmp_path


def record(root, name, *events):
    folder = new_record(root, name).folder
    lines = [{"kind": "unit_done", "stage": "registration", **each} for each in events]
    (folder / "events.jsonl").write_text("".join(json.dumps(each) + "\n" for each in lines))
    return folder


def test_times_of_another_workspace_or_of_reused_units_are_believed(runs):
    record(runs, "mine", {"seconds": 30.0}, {"seconds": 50.0}, {"seconds": 0.0, "reused": True})
    record(runs, "other", {"seconds": 500.0})
    broken = record(runs, "mine")
    (broken / "events.jsonl").write_text('{"kind": "unit_do')
    (broken / RUN).write_text("{}")
    assert earlier(runs, "mine") == {"registration": 40.0}
    assert earlier(runs, "none") == {}


def test_a_machine_that_is_too_small_is_found_out_in_the_middle_of_the_night(tmp_path):
    assert "too little" not in needs_line(0.1, 0.1, tmp_path)
    assert "too little memory" in needs_line(1e6, 0.1, tmp_path)
    assert "too little disk" in needs_line(0.1, 1e9, tmp_path)
