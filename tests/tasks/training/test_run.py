from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from synthct.data.errors import TooManyExcludedError, UsageError
from synthct.tasks.models.description import ModelDescription
from synthct.tasks.training import run as stage
from synthct.tasks.training.fit import fit
from synthct.tasks.training.params import TrainingParams
from synthct.tasks.training.run_state import load_checkpoint

TINY = {
    "sources": ["mr"],
    "folds": 2,
    "network": {"name": "unet_plus_plus", "slices": 1, "width": 4},
    "mr": {"patch_size": [32, 64]},
    "steps": 1, "batch": 2, "validation_slices": 1,
}  # fmt: skip


def params(**changes):
    return TrainingParams.model_validate_json(json.dumps({**TINY, **changes}))


def trained(context):
    out = context.artefact("training")
    folders = sorted(path.name for path in out.iterdir() if path.is_dir())
    return out, folders, json.loads((out / "folds.json").read_text())


def test_one_network_for_each_fold_and_the_words_of_the_contract(workspace, events):
    context = workspace({"a_mr": "pass", "b_mr": "pass"})
    stage.run(context, params(folds=5))
    out, folders, folds = trained(context)
    assert folders == ["mr_fold0", "mr_fold1"]
    for number, fold in enumerate(folds["mr"]):
        assert sorted([*fold["train"], *fold["test"]]) == ["a_mr", "b_mr"]
        model = ModelDescription.load(out / f"mr_fold{number}" / "model.json")
        assert model.test_cases == fold["test"]
        assert fold["held_out"] == "slab"
    told = " ".join(event["text"] for event in events("note"))
    assert "2 folds of one patient each" in told
    assert "validation uses slices of training cases" in told


def test_a_fold_that_trained_badly_is_not_mentioned(workspace, events, monkeypatch):
    def diverged(context, stage_name, out, units, **_):
        for unit in units:
            (out / unit.name).mkdir()
            end = 0.4 if unit.name == "mr_fold1" else 0.2
            (out / unit.name / "history.csv").write_text(f"step,objective\n1,{end}\n")
        return [unit.name for unit in units]

    monkeypatch.setattr(stage, "run_units", diverged)
    stage.run(workspace({f"{name}_mr": "pass" for name in "abc"}), params(folds=3))
    (sentence,) = [note["text"] for note in events("note") if "trained badly" in note["text"]]
    assert sentence.startswith("mr_fold1 trained badly: its objective ended at 0.4")


def test_failed_pairs_are_left_out_and_suspect_ones_only_enter_when_asked(workspace):
    context = workspace({"a_mr": "pass", "b_mr": "pass", "c_mr": "suspect", "d_mr": "fail"})
    stage.run(context, params())
    assert _cases(trained(context)[2]) == {"a_mr", "b_mr"}
    stage.run(context, params(use_suspect=True))
    assert _cases(trained(context)[2]) == {"a_mr", "b_mr", "c_mr"}


def _cases(folds):
    return {case for fold in folds["mr"] for side in ("train", "test") for case in fold[side]}


def test_a_second_run_trains_nothing_and_a_changed_step_count_trains_all(workspace, events):
    context = workspace({"a_mr": "pass", "b_mr": "pass"})
    stage.run(context, params())
    stage.run(context, params())
    stage.run(context, params(cbct={"patch_size": [64, 64]}))  # of another source
    stage.run(context, params(steps=2))
    planned = [(e["total"], e["reused"]) for e in events("units_planned")]
    assert planned == [(2, 0), (2, 2), (2, 2), (2, 0)]


def test_a_source_without_pairs_is_listed_and_the_others_are_trained(workspace):
    context = replace(workspace({"a_mr": "pass", "b_mr": "pass"}), max_excluded_fraction=0.5)
    stage.run(context, params(sources=["mr", "cbct"]))
    out, folders, folds = trained(context)
    assert folders == ["mr_fold0", "mr_fold1"]
    assert list(folds) == ["mr"]
    (row,) = json.loads((out / "excluded.json").read_text())
    assert (row["unit"], row["code"]) == ("cbct", "too-few-patients")


def test_pairs_that_are_all_suspect_are_reported_as_such_with_the_way_on(workspace):
    pairs = dict.fromkeys(("a_mr", "b_mr", "c_mr"), "suspect")
    context = replace(workspace(pairs), max_excluded_fraction=1.0)
    stage.run(context, params())
    (row,) = json.loads((context.artefact("training") / "excluded.json").read_text())
    assert "3 pairs are registered (0 pass, 3 suspect, 0 fail)" in row["problem"]
    assert "training.use_suspect" in row["remedy"]


def test_a_run_whose_pairs_are_all_suspect_advises_to_raise_a_limit_that_cannot_help(workspace):
    """The limit on exclusions that the demo has: the run ends with this one line."""
    context = workspace(dict.fromkeys(("a_mr", "b_mr", "c_mr"), "suspect"))
    with pytest.raises(TooManyExcludedError) as caught:
        stage.run(context, params())
    assert "3 pairs are registered (0 pass, 3 suspect, 0 fail)" in str(caught.value)
    assert "training.use_suspect" in caught.value.remedy
    assert "raise max_excluded_fraction" not in str(caught.value)


def test_wrong_params_stop_before_anything_is_written(workspace):
    context = workspace({"a_mr": "pass", "b_mr": "pass"})
    with pytest.raises(UsageError, match="no regularizer is called"):
        stage.run(context, params(regularizers=[{"name": "nothing", "weight": 1.0}]))
    assert not context.artefact("training").exists()


def test_another_weight_of_suspect_pairs_retrains_only_the_folds_that_learn_from_one(
    workspace, events
):
    context = workspace({"a_mr": "pass", "b_mr": "pass", "c_mr": "suspect"})
    stage.run(context, params(use_suspect=True))
    stage.run(context, params(use_suspect=True, suspect_weight=0.5))
    folds = trained(context)[2]["mr"]
    without = sum("c_mr" not in fold["train"] for fold in folds)
    planned = [(e["total"], e["reused"]) for e in events("units_planned")]
    assert without == 1
    assert planned == [(2, 0), (2, without)]


def test_the_last_good_checkpoint_of_a_run_that_broke_is_kept(
    stored, workspace, monkeypatch, tmp_path
):
    monkeypatch.setattr("synthct.tasks.pipeline.execution.default_root", lambda: tmp_path / "root")
    pairs = dict.fromkeys(("a_mr", "b_mr", "c_mr", "d_mr"), "pass")
    context = replace(workspace(pairs), max_excluded_fraction=1.0)
    stored(context.artefact("registration"), "b_mr", broken=True)
    steps = {"steps": 40, "checkpoint_every": 1, "batch": 1, "folds": 4}
    stage.run(context, params(**steps))
    rows = json.loads((context.artefact("training") / "excluded.json").read_text())
    assert {row["code"] for row in rows} == {"loss-not-finite"}
    assert all("b_mr" in row["problem"] and "checkpoint is kept" in row["remedy"] for row in rows)
    kept = [load_checkpoint(path.parent) for path in (tmp_path / "root").rglob("checkpoint.pt")]
    assert all(torch.isfinite(w).all() for state in kept for w in state["model"].values())
    assert kept


@pytest.mark.slow
def test_a_compiled_network_trains_as_the_plain_one(order):
    plain, compiled = order("plain", steps=2), order("compiled", steps=2, compile=True)
    for arguments in (plain, compiled):
        fit(**arguments)
    told = [ModelDescription.load(a["out"] / "model.json") for a in (plain, compiled)]
    assert told[1].validation_mae_hu == pytest.approx(told[0].validation_mae_hu, rel=1e-3)
