from __future__ import annotations

import json

import pytest
from safetensors.torch import load_file

from synthct.tasks.models.description import ModelDescription
from synthct.tasks.training import run as stage
from synthct.tasks.training.fit import fit
from synthct.tasks.training.params import TrainingParams

ALL = {
    "sources": ["mr"],
    "folds": 2,
    "network": {"name": "unet_plus_plus", "slices": 1, "width": 4, "norm": "instance"},
    "mr": {"patch_size": [32, 64]},
    "steps": 1, "batch": 2, "validation_slices": 1,
}  # fmt: skip


def params(**changes):
    return TrainingParams.model_validate_json(json.dumps({**ALL, **changes}))


def test_one_region_goes_on_from_the_joint_networks_that_are_shared(workspace, events):
    regions = {"a": "thorax", "b": "abdomen", "c": "thorax", "d": "abdomen"}
    context = workspace({f"{p}_mr": "pass" for p in regions}, regions=regions)
    stage.run(context, params())
    joint = {p.parent.name: p.read_bytes() for p in context.artefact("training").glob("*/weights*")}
    stage.run(context, params(fine_tune={"region": "thorax", "steps": 1}))
    assert [(e["total"], e["reused"]) for e in events("units_planned")] == [(2, 0), (2, 2), (2, 0)]
    out = context.artefact("training")
    folds = json.loads((out / "folds.json").read_text())["mr"]
    assert sorted(case for fold in folds for case in fold["test"]) == ["a_mr", "c_mr"]
    for number, fold in enumerate(folds):
        unit = f"mr_fold{number}"
        assert (out / "joint" / unit / "weights.safetensors").read_bytes() == joint[unit]
        told = ModelDescription.load(out / unit / "model.json")
        assert told.regions == ["thorax"]
        assert told.train_cases == fold["train"]
        assert not {"b_mr", "d_mr"} & {*told.train_cases, *told.validation_cases}


def test_a_fold_without_the_region_is_listed(workspace):
    regions = {"a": "thorax", "b": "abdomen", "c": "abdomen"}
    context = workspace({f"{p}_mr": "pass" for p in regions}, regions=regions)
    stage.run(context, params(folds=3, fine_tune={"region": "thorax", "steps": 1}))
    rows = json.loads((context.artefact("training") / "excluded.json").read_text())
    assert [row["code"] for row in rows] == ["region-absent"]


def test_weights_that_fine_tuning_made_worse_are_not_kept(order):
    joint = order("joint", steps=3)
    fit(**joint)
    start = joint["out"] / "weights.safetensors"
    worse = order("worse", steps=2, optimizer={"learning_rate": 10.0}, validation_every=1)
    fit(**worse, start=start)
    kept, given = load_file(worse["out"] / "weights.safetensors"), load_file(start)
    assert all(kept[name].equal(given[name]) for name in given)
    told = [ModelDescription.load(a["out"] / "model.json") for a in (joint, worse)]
    assert told[1].validation_mae_hu == pytest.approx(told[0].validation_mae_hu)
