from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from synthct.data.environment import EVENTS
from synthct.data.errors import DataError
from synthct.data.store.volumes import read_volume
from synthct.data.tables import read_table
from synthct.tasks.models.description import ModelDescription
from synthct.tasks.models.sliding import predict
from synthct.tasks.regularization import REGULARIZERS
from synthct.tasks.regularization.base import seams_of
from synthct.tasks.training import loop as loop_module
from synthct.tasks.training.fit import fit
from synthct.tasks.training.run_state import NAME, load_checkpoint, save_checkpoint
from synthct.tasks.training.runner import torch_runner

ROOT = Path(__file__).resolve().parents[3]
TINY_NETWORK = {"name": "unet_plus_plus", "slices": 3, "width": 4}


def written(arguments):
    return {path.name: path.read_bytes() for path in sorted(arguments["out"].iterdir())}


CHILD = """
import json, os, signal, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
moment, count, arguments = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3])
from synthct.tasks.training import loop, run_state
from synthct.tasks.training.fit import fit
seen = 0
def die_at(moment_here, function):
    def counted(*a, **k):
        global seen
        if moment_here == moment:
            seen += 1
            if seen == count:
                os.kill(os.getpid(), signal.SIGKILL)
        return function(*a, **k)
    return counted
run_state.os.replace = die_at("before the rename", os.replace)
loop.Loop._validate = die_at("in a validation", loop.Loop._validate)
plain = {k: v for k, v in arguments.items() if k not in ("paths",)}
fit(**plain, **{k: Path(v) for k, v in arguments["paths"].items()})
"""


def run_child(arguments, moment, count):
    paths = {k: str(v) for k, v in arguments.items() if isinstance(v, Path)}
    plain = {k: v for k, v in arguments.items() if not isinstance(v, Path)}
    command = [
        sys.executable,
        "-c",
        CHILD,
        moment,
        str(count),
        json.dumps({**plain, "paths": paths}),
    ]
    return subprocess.run(
        command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False
    )


def test_killed_anywhere_it_ends_with_the_same_bytes(order):
    """One run is killed twice, at the worst moments, and finished by a third call."""
    extra = {
        "steps": 8,
        "optimizer": {"ema_decay": 0.9, "clip_norm": 1.0},
        "regularizers": [{"name": "cutout", "weight": 0.5}, {"name": "norm_loss", "weight": 0.001}],
    }
    whole, killed = order("whole", **extra), order("killed", **extra)
    fit(**whole)
    for moment, count in (("before the rename", 2), ("in a validation", 2)):
        assert run_child(killed, moment, count).returncode == -signal.SIGKILL
    assert load_checkpoint(killed["scratch"])["progress"]["step"] == 4
    fit(**killed)
    assert written(killed) == written(whole)


class Killed(BaseException):
    pass


IN_TRAINING = [
    name
    for name, cls in REGULARIZERS.items()
    if not set(seams_of(cls)) <= {"displacement", "image"}
]


@pytest.mark.parametrize("name", IN_TRAINING)
def test_every_regularizer_survives_checkpoint_and_resume(order, monkeypatch, name):
    extra = {"regularizers": [{"name": name, "weight": 0.01}], "steps": 2, "checkpoint_every": 1}
    whole, broken = order("whole", **extra), order("broken", **extra)
    fit(**whole)
    original = loop_module.Loop._step

    def stop(self, number, batch):
        if number == 1:
            raise Killed
        return original(self, number, batch)

    with monkeypatch.context() as patched:
        patched.setattr(loop_module.Loop, "_step", stop)
        with pytest.raises(Killed):
            fit(**broken)
    fit(**broken)
    assert written(broken) == written(whole)


def test_it_learns_and_keeps_the_best_weights(order):
    arguments = order(
        steps=60, batch=4, validation_every=15,
        network={**TINY_NETWORK, "width": 8, "norm": "instance"},
        mr={"patch_size": [64, 64]}, optimizer={"learning_rate": 0.01, "schedule": "one_cycle"},
    )  # fmt: skip
    fit(**arguments)
    history = read_table(arguments["out"] / "history.csv")
    maes = [float(row["validation_mae_hu"]) for row in history if row["validation_mae_hu"]]
    ct, mask = (read_volume(arguments[f"c_mr/{kind}"]).array for kind in ("ct", "mask"))
    inside = ct[mask > 0].astype(float)
    # Better than the best constant, on a pair that was not trained on.
    assert min(maes) < 0.7 * np.abs(inside - np.median(inside)).mean()
    description = ModelDescription.load(arguments["out"] / "model.json")
    assert description.validation_mae_hu == pytest.approx(min(maes), rel=1e-4)


def test_prediction_reaches_exactly_what_validation_measured(order):
    """Windows, scaling and weights of prediction give the error that training wrote."""
    arguments = order(steps=4, validation_slices=None, mr={"patch_size": [32, 64]})
    fit(**arguments)
    out = arguments["out"]
    description = ModelDescription.load(out / "model.json")
    source, mask, ct = (read_volume(arguments[f"c_mr/{k}"]) for k in ("source", "mask", "ct"))
    hu = predict(torch_runner(out), source, mask, description).hu
    inside = mask.array > 0
    mae_hu = np.abs(hu[inside].astype(float) - ct.array[inside]).mean()
    # Prediction rounds to whole HU.
    assert mae_hu == pytest.approx(description.validation_mae_hu, abs=0.05)


def test_the_description_says_what_was_trained_on(order):
    arguments = order(regularizers=[{"name": "cutout", "weight": 0.5, "holes": 2}])
    fit(**arguments)
    told = ModelDescription.load(arguments["out"] / "model.json")
    assert told.network == {"name": "unet_plus_plus", "slices": 3, "width": 4}
    assert told.regularizers == [{"name": "cutout", "weight": 0.5, "holes": 2}]
    assert (told.train_cases, told.validation_cases) == (["a_mr", "b_mr"], ["c_mr"])
    assert told.spacing_mm == (3.0, 2.0, 2.0)


def test_a_source_can_have_its_own_number_of_steps(order):
    arguments = order(steps=6, mr={"patch_size": [32, 32], "steps": 2})
    fit(**arguments)
    assert [row["step"] for row in read_table(arguments["out"] / "history.csv")] == ["2"]


def test_a_slab_that_validates_is_never_seen_in_training(order, monkeypatch):
    seen = {}

    class Spy(loop_module.Loop):
        def __init__(self, **given):
            seen.update(given)
            super().__init__(**given)

    monkeypatch.setattr("synthct.tasks.training.fit.Loop", Spy)
    fit(**order(held_out="slab", steps=2))
    for train, held in zip(seen["sampler"].cases, seen["validation"].cases, strict=True):
        trained = np.flatnonzero(train.body.any(axis=1))
        validated = np.flatnonzero(held.body.any(axis=1))
        # One slice on each side enters as context.
        assert trained.max() + 1 < validated.min()
        assert validated.size == 2  # a fifth of the ten slices with body


def test_a_loss_that_is_not_finite_names_the_cases(order):
    arguments = order(broken=True, steps=50)
    with pytest.raises(DataError) as caught:
        fit(**arguments)
    assert caught.value.code == "loss-not-finite"
    assert "b_mr" in caught.value.problem
    assert not list(arguments["out"].iterdir())


def test_the_loss_terms_are_reported_one_by_one(order, tmp_path, monkeypatch):
    events = tmp_path / "events.jsonl"
    monkeypatch.setenv(EVENTS, str(events))
    fit(**order(regularizers=[{"name": "norm_loss", "weight": 0.01}]))
    steps = [json.loads(line) for line in events.read_text().splitlines() if '"step"' in line]
    last = steps[-1]
    assert set(last["terms"]) == {"objective", "l1", "norm_loss"}
    assert (last["step"], last["total"], last["eta_s"]) == (6, 6, 0.0)
    assert last["patches_per_s"] > 0


def test_tensorboard_files_are_written_only_when_asked_for(order, tmp_path, monkeypatch):
    monkeypatch.setenv("SYNTHCT_TENSORBOARD", str(tmp_path / "runs"))
    arguments = order("watched", steps=2)
    fit(**arguments)
    assert list((tmp_path / "runs" / "mr_fold0").glob("events.out.*"))
    monkeypatch.delenv("SYNTHCT_TENSORBOARD")
    plain = order("plain", steps=2)
    fit(**plain)
    assert written(plain) == written(arguments)


def test_the_callers_random_stream_is_left_alone(order):
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    fit(**order(steps=1))
    assert torch.equal(torch.rand(2), expected)


def test_bfloat16_and_instance_norm_train_too(order):
    arguments = order(
        precision="bfloat16", network={**TINY_NETWORK, "norm": "instance"},
        mr={"patch_size": [64, 64]},
    )  # fmt: skip
    fit(**arguments)
    rows = read_table(arguments["out"] / "history.csv")
    assert float(rows[-1]["validation_mae_hu"]) > 0


def test_a_damaged_checkpoint_starts_over(tmp_path):
    save_checkpoint(tmp_path, {"weights": torch.arange(100.0)})
    data = (tmp_path / NAME).read_bytes()
    (tmp_path / NAME).write_bytes(data[: len(data) // 2])
    assert load_checkpoint(tmp_path) is None
    (tmp_path / f".{NAME}.left").write_bytes(b"half")
    save_checkpoint(tmp_path, {"weights": torch.ones(2)})
    assert [path.name for path in tmp_path.iterdir()] == [NAME]
    assert torch.equal(load_checkpoint(tmp_path)["weights"], torch.ones(2))


def test_a_learned_strength_is_in_the_history_and_in_the_description(order):
    """Nobody could see what was trained with."""
    extra = {
        "steps": 4,
        "history_every": 1,
        "regularizers": [
            {"name": "norm_loss", "weight": 0.01},
            {"name": "hoag", "weight": 0.1, "every": 2, "iterations": 1},
        ],
    }
    arguments = order("learned", **extra)
    fit(**arguments)
    last = float(read_table(arguments["out"] / "history.csv")[-1]["strength_norm_loss"])
    described = ModelDescription.load(arguments["out"] / "model.json").learned_strengths
    assert described == {"norm_loss": pytest.approx(last, rel=1e-3)}
    assert last != 0.01
