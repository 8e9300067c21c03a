from __future__ import annotations

import json

import pytest

from synthct.data.environment import TRAINING_PROCESSES
from synthct.data.errors import DataError, MachineError
from synthct.data.tables import read_table
from synthct.tasks.training.launch import train


@pytest.mark.slow
def test_two_processes_train_as_one_does_to_the_rounding_of_float32(order, monkeypatch):
    """``test_descent.py`` shows that the gradients are equal; here two children run it all."""
    extra = {
        "steps": 3, "batch": 4, "checkpoint_every": 1, "mr": {"patch_size": [64, 64]},
        "network": {"name": "unet_plus_plus", "slices": 3, "width": 4, "norm": "instance"},
        "optimizer": {"learning_rate": 1e-4, "clip_norm": 1.0, "ema_decay": 0.9},
        "regularizers": [{"name": "norm_loss", "weight": 0.01}, {"name": "cutout", "weight": 0.5}],
    }  # fmt: skip
    alone, pair = order("alone", **extra), order("pair", **extra)
    train(**alone)
    monkeypatch.setenv(TRAINING_PROCESSES, "2")
    train(**pair)
    ours, theirs = (read_table(a["out"] / "history.csv") for a in (alone, pair))
    assert len(ours) == len(theirs) > 0
    for one, two in zip(ours, theirs, strict=True):
        for label in ("objective", "l1", "norm_loss", "validation_mae_hu"):
            if one[label]:
                assert float(one[label]) == pytest.approx(float(two[label]), rel=1e-3)
    assert not (pair["out"] / "remarks.json").exists()


def test_a_child_writes_the_bytes_that_this_process_writes(order, monkeypatch):
    here, child = order("here", steps=2), order("child", steps=2)
    train(**here)
    monkeypatch.setenv(TRAINING_PROCESSES, "1")
    train(**child)
    for file in sorted(here["out"].iterdir()):
        assert (child["out"] / file.name).read_bytes() == file.read_bytes()


@pytest.mark.slow
def test_a_batch_norm_that_two_processes_divide_is_remarked(order, monkeypatch):
    arguments = order(steps=1, batch=4, mr={"patch_size": [32, 64]})
    monkeypatch.setenv(TRAINING_PROCESSES, "2")
    train(**arguments)
    (remark,) = json.loads((arguments["out"] / "remarks.json").read_text())
    assert "batch norms see the parts of 2 processes alone" in remark


def test_a_fault_of_a_child_is_raised_as_it_is_and_the_others_do_not_wait(order, monkeypatch):
    network = {"name": "unet_plus_plus", "slices": 3, "width": 4, "norm": "instance"}
    arguments = order(broken=True, steps=50, network=network, mr={"patch_size": [32, 64]})
    monkeypatch.setenv(TRAINING_PROCESSES, "2")
    with pytest.raises(DataError) as caught:
        train(**arguments)
    assert caught.value.code == "loss-not-finite"
    assert "b_mr" in caught.value.problem


@pytest.mark.slow
def test_what_needs_whole_batches_is_not_divided_silently(order, monkeypatch):
    arguments = order(regularizers=[{"name": "gradient_norm", "weight": 0.01}])
    monkeypatch.setenv(TRAINING_PROCESSES, "2")
    with pytest.raises(MachineError, match="gradient_norm need whole batches"):
        train(**arguments)


def test_a_number_of_processes_that_is_none_is_reported(order, monkeypatch):
    monkeypatch.setenv(TRAINING_PROCESSES, "two")
    with pytest.raises(MachineError, match=f"{TRAINING_PROCESSES} is a number"):
        train(**order())
