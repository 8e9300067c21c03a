from __future__ import annotations

import json
from dataclasses import replace

import pytest

from data.faults import UsageFault
from data.layout import Layout
from data.units import LocalUnits
from tasks.events import VARIABLE
from tasks.fanout import here
from tasks.prediction.description import ModelDescription
from tasks.stage import StageContext
from tasks.training import run as stage
from tasks.training.params import TrainingParams

TINY = {
    "tasks": ["mr"],
    "folds": 2,
    "network": {"name": "unet_plus_plus", "slices": 1, "width": 4},
    "mr": {"patch_size": [32, 64]},
    "steps": 1, "batch": 2, "validation_slices": 1,
}  # fmt: skip


def params(**changes):
    return TrainingParams.model_validate_json(json.dumps({**TINY, **changes}))


@pytest.fixture
def workspace(stored, tmp_path, monkeypatch):
    """A workspace whose registration wrote some pairs, given as ``{case: verdict}``."""
    monkeypatch.setenv(VARIABLE, str(tmp_path / "events.jsonl"))

    def make(verdicts):
        layout = Layout(tmp_path / "workspace")
        registered = layout.artefact("registration")
        for seed, (case, verdict) in enumerate(verdicts.items()):
            patient, task = case.rsplit("_", 1)
            stored(registered, case, seed=seed)
            facts = {"case": case, "patient": patient, "task": task, "region": "thorax",
                     "synthetic": True, "method": "elastix_mi", "verdict": verdict}  # fmt: skip
            (registered / case / "case.json").write_text(json.dumps(facts))
        units = LocalUnits(tmp_path / "units")
        units.root.mkdir(exist_ok=True)
        return StageContext(layout, seed=1, units=units, fan_out=here)

    return make


def events(tmp_path, kind):
    lines = (tmp_path / "events.jsonl").read_text().splitlines()
    return [event for event in map(json.loads, lines) if event["kind"] == kind]


def trained(context):
    out = context.artefact("training")
    folders = sorted(path.name for path in out.iterdir() if path.is_dir())
    return out, folders, json.loads((out / "folds.json").read_text())


def test_one_network_for_each_fold_and_the_words_of_the_contract(workspace, tmp_path):
    context = workspace({"a_mr": "pass", "b_mr": "pass"})
    stage.run(context, params(folds=5))
    out, folders, folds = trained(context)
    assert folders == ["mr_fold0", "mr_fold1"]
    for number, fold in enumerate(folds["mr"]):
        assert sorted([*fold["train"], *fold["test"]]) == ["a_mr", "b_mr"]
        model = ModelDescription.load(out / f"mr_fold{number}" / "model.json")
        assert model.test_cases == fold["test"]
        assert fold["held_out"] == "slab"
    told = " ".join(event["text"] for event in events(tmp_path, "note"))
    assert "2 folds, one patient each" in told
    assert "validated on slices of training cases" in told


def test_failed_pairs_are_left_out_and_suspect_ones_only_enter_when_asked(workspace):
    context = workspace({"a_mr": "pass", "b_mr": "pass", "c_mr": "suspect", "d_mr": "fail"})
    stage.run(context, params())
    assert _cases(trained(context)[2]) == {"a_mr", "b_mr"}
    stage.run(context, params(use_suspect=True))
    assert _cases(trained(context)[2]) == {"a_mr", "b_mr", "c_mr"}


def _cases(folds):
    return {case for fold in folds["mr"] for side in ("train", "test") for case in fold[side]}


def test_a_second_run_trains_nothing_and_a_changed_step_count_trains_all(workspace, tmp_path):
    context = workspace({"a_mr": "pass", "b_mr": "pass"})
    stage.run(context, params())
    stage.run(context, params())
    stage.run(context, params(cbct={"patch_size": [64, 64]}))  # of another source
    stage.run(context, params(steps=2))
    planned = [(e["total"], e["reused"]) for e in events(tmp_path, "units_planned")]
    assert planned == [(2, 0), (2, 2), (2, 2), (2, 0)]


def test_a_source_without_pairs_is_listed_and_the_others_are_trained(workspace):
    context = replace(workspace({"a_mr": "pass", "b_mr": "pass"}), max_excluded_fraction=0.5)
    stage.run(context, params(tasks=["mr", "cbct"]))
    out, folders, folds = trained(context)
    assert folders == ["mr_fold0", "mr_fold1"]
    assert list(folds) == ["mr"]
    (row,) = json.loads((out / "excluded.json").read_text())
    assert (row["unit"], row["code"]) == ("cbct", "too-few-patients")


def test_wrong_params_stop_before_anything_is_written(workspace):
    context = workspace({"a_mr": "pass", "b_mr": "pass"})
    with pytest.raises(UsageFault, match="no regularizer is called"):
        stage.run(context, params(regularizers=[{"name": "nothing"}]))
    assert not context.artefact("training").exists()


def test_another_weight_of_suspect_pairs_retrains_only_the_folds_that_learn_from_one(
    workspace, tmp_path
):
    context = workspace({"a_mr": "pass", "b_mr": "pass", "c_mr": "suspect"})
    stage.run(context, params(use_suspect=True))
    stage.run(context, params(use_suspect=True, suspect_weight=0.5))
    folds = trained(context)[2]["mr"]
    without = sum("c_mr" not in fold["train"] for fold in folds)
    planned = [(e["total"], e["reused"]) for e in events(tmp_path, "units_planned")]
    assert without == 1
    assert planned == [(2, 0), (2, without)]
