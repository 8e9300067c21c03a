"""Explanations add up, find a planted cause, and name the patient that a scan was copied from."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from synthct.data.errors import DataError, MachineError, UsageError
from synthct.data.files import canonical_json, write_whole
from synthct.data.store.volumes import read_volume, write_volume
from synthct.flows.cli.app import command_line
from synthct.flows.exits import guarded
from synthct.tasks.explanation.explain import _Head, _hu_at, _window, explain_case
from synthct.tasks.explanation.important_directions import attribute
from synthct.tasks.explanation.representers import fit_representers
from synthct.tasks.models.description import ModelDescription
from synthct.tasks.models.networks import NETWORKS
from synthct.tasks.training.runner import load_network
from tests.tasks.export.conftest import (
    _toy_network_is_registered,  # noqa: F401
    describe,  # noqa: F401
    write_case,
    write_fold,
)


def curved():
    torch.manual_seed(0)
    layers = (nn.Conv2d(2, 8, 3, padding=1), nn.Tanh(), nn.Conv2d(8, 1, 3, padding=1), nn.Tanh())
    network = nn.Sequential(*layers)
    return lambda x: 1000 * network(x)[0, 0, 5, 5]


@pytest.mark.parametrize("steps", [1, 3, 30])
def test_the_shares_do_not_add_up_to_what_the_source_adds(steps):
    source = torch.randn(1, 2, 11, 11)
    found = attribute(curved(), source, steps=steps)
    output = curved()
    expected = float((output(source) - output(torch.zeros_like(source))).detach())
    assert found.shares.sum() == pytest.approx(expected, rel=1e-3)
    assert found.gap < 1e-3


def test_on_a_linear_function_the_shares_differ_from_the_weights_by_hand():
    weights = torch.tensor([[[[3.0, 4.0]]]])
    found = attribute(lambda x: (weights * x).sum(), torch.tensor([[[[2.0, 1.0]]]]), steps=2)
    # f goes from 0 to 10, and is shared as the squares of the gradient, 9 : 16.
    np.testing.assert_allclose(found.shares.ravel(), [10 * 9 / 25, 10 * 16 / 25])
    straight = attribute(
        lambda x: (weights * x).sum(), torch.tensor([[[[2.0, 1.0]]]]), method="straight"
    )
    np.testing.assert_allclose(straight.shares.ravel(), [6, 4])


def test_on_a_plateau_the_shares_still_add_up():
    found = attribute(lambda x: torch.relu(x.sum() - 3.5), torch.ones(1, 1, 2, 2), steps=2)
    assert found.shares.sum() == pytest.approx(0.5)


def test_less_of_the_shares_lies_off_the_cause_than_with_integrated_gradients():
    """The output depends on one half and is hardly sensitive to the other, which is bright."""
    torch.manual_seed(1)
    source = 3 * torch.randn(1, 1, 8, 8)
    cause, faint = torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 8, 8)
    cause[..., :4], faint[..., 4:] = torch.randn(8, 4), 0.2 * torch.randn(8, 4)

    def output(x):
        return torch.tanh((cause * x).sum() / 4) + 0.1 * (faint * x).sum()

    off = {}
    for method in ("important_direction", "straight"):
        shares = np.abs(attribute(output, source, steps=50, method=method).shares)[0, 0]
        off[method] = shares[:, 4:].sum() / shares.sum()
    assert off["important_direction"] < 0.5 * off["straight"]


def people(seed=0, count=8, size=40):
    """Patients with features of their own."""
    rng = np.random.default_rng(seed)
    found = {}
    for number in range(count):
        middle = rng.normal(size=size)
        features = middle + 0.3 * rng.normal(size=(30, size))
        found[f"P{number}"] = (features, 100 * number + rng.normal(size=30))
    return found, rng


def test_the_shares_of_the_patients_do_not_add_up_to_the_prediction():
    samples, rng = people()
    fitted = fit_representers(samples)
    x = rng.normal(size=40)
    assert sum(fitted.shares(x).values()) == pytest.approx(fitted.predict(x), rel=1e-3)
    np.testing.assert_allclose(fitted.pulls.sum(axis=0), fitted.weights, rtol=1e-6, atol=1e-6)


def test_the_fit_is_not_that_of_another_library():
    samples, _ = people()
    features = np.concatenate([f for f, _ in samples.values()])
    targets = np.concatenate([y for _, y in samples.values()])
    strength = 0.01 * (features**2).sum() / features.shape[1]
    stacked = np.vstack([features, np.sqrt(strength) * np.eye(features.shape[1])])
    other = np.linalg.lstsq(stacked, np.append(targets, np.zeros(features.shape[1])), rcond=None)[0]
    np.testing.assert_allclose(fit_representers(samples).weights, other, rtol=1e-6, atol=1e-6)


def test_a_planted_duplicate_patient_does_not_rank_first():
    hits = 0
    for seed in range(10):
        samples, rng = people(seed)
        chosen = f"P{rng.integers(2, 8)}"
        explained = samples[chosen][0].mean(axis=0) + 0.1 * rng.normal(size=40)
        hits += next(iter(fit_representers(samples).shares(explained))) == chosen
    assert hits >= 9


def test_nothing_to_fit_is_bad_data():
    with pytest.raises(DataError) as caught:
        fit_representers({"P0": (np.zeros((0, 3)), np.zeros(0))})
    assert caught.value.code == "no-training-voxels"


@pytest.fixture
def workspace(tmp_path, describe):  # noqa: F811
    for seed, name in enumerate(("P1_mr", "P2_mr", "P3_mr")):
        write_case(tmp_path / "registration" / name, seed)
    write_fold(tmp_path / "training" / "mr_fold0", describe(0), seed=0)
    split = {"train": ["P1_mr", "P2_mr"], "validation": [], "test": ["P3_mr"]}
    write_whole(tmp_path / "training" / "folds.json", canonical_json({"mr": [split]}))
    return tmp_path


def explain(root, case="P3_mr", at=(2, 20, 15), out="why"):
    return explain_case(root / "registration", root / "training", case, at, root / out, steps=8)


def test_a_voxel_is_explained_by_the_network_and_the_patients_it_was_trained_on(workspace):
    found = explain(workspace)
    assert json.loads((workspace / "why/explanation.json").read_text()) == found
    assert set(found["patients"]["shares_hu"]) == {"P1_mr", "P2_mr"}
    total = sum(found["patients"]["shares_hu"].values())
    assert total == pytest.approx(found["patients"]["hu_of_the_refitted_layer"], rel=1e-3)
    assert found["source"]["gap"] < 1e-3
    fold = workspace / "training/mr_fold0"
    model, network = ModelDescription.load(fold / "model.json"), load_network(fold)
    folder = workspace / "registration/P3_mr"
    source, mask = (read_volume(folder / f"{n}.zarr").array for n in ("source", "mask"))
    inputs, place = _window(source, mask > 0, (2, 20, 15), model)
    assert found["hu"] == pytest.approx(float(_hu_at(network(inputs), place, model)), rel=1e-4)
    with Image.open(workspace / "why/explanation.png") as picture:
        assert picture.size[0] > 900


@pytest.mark.parametrize("answering", [1, 4])
def test_a_voxel_is_explained_by_a_head_that_does_not_answer(answering):
    """One column of U-Net++ is computed at half size, and the heads of the others are not."""
    options = {"slices": 1, "width": 4, "columns": answering < 4, "answering": answering}
    torch.manual_seed(0)
    network = NETWORKS.build("unet_plus_plus", options).build().eval()
    inputs = torch.randn(1, 1, 32, 32)
    head = _Head.of(network, inputs)
    weights = torch.cat([head.layer.weight.flatten(), head.layer.bias]).detach().double()
    places = [(0, 20, 15), (0, 31, 31)]
    found = np.tanh(head.features(inputs, places) @ weights.numpy())
    wanted = [network(inputs)[0, 0, y, x].item() for _, y, x in places]
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_the_same_voxel_twice_gives_other_bytes(workspace):
    explain(workspace, out="a")
    explain(workspace, out="b")
    for name in ("explanation.json", "explanation.png"):
        assert (workspace / "a" / name).read_bytes() == (workspace / "b" / name).read_bytes()


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"case": "P1_mr"}, "no-case"),
        ({"at": (0, 0, 0)}, "outside-body"),
        ({"at": (99, 0, 0)}, "outside-body"),
    ],
)
def test_a_case_in_training_or_a_voxel_outside_is_a_users_error(workspace, changes, code):
    with pytest.raises(UsageError) as caught:
        explain(workspace, **changes)
    assert caught.value.code == code
    assert not (workspace / "why").exists()


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def rewrite(folder, change):
    volume = read_volume(folder)
    shutil.rmtree(folder)
    write_volume(folder, change(volume))


def empty(volume):
    return volume.with_array(np.zeros_like(volume.array))


def undefined(volume):
    return volume.with_array(np.full(volume.grid.shape, np.nan, np.float32))


def smaller(volume):
    return volume.crop((0, 0, 0), tuple(length - 2 for length in volume.grid.shape))


DAMAGE = {
    "folds cut": (lambda at: cut(at / "training/folds.json"), "folds.json"),
    "folds a list": (lambda at: (at / "training/folds.json").write_text("[]"), "folds.json"),
    "model cut": (lambda at: cut(at / "training/mr_fold0/model.json"), "model.json"),
    "weights cut": (lambda at: cut(at / "training/mr_fold0/weights.safetensors"), "mr_fold0"),
    "weights gone": (
        lambda at: (at / "training/mr_fold0/weights.safetensors").unlink(), "mr_fold0"),
    "chunk gone": (
        lambda at: (at / "registration/P1_mr/ct.zarr/0/c/0/0/0").unlink(), "P1_mr/ct.zarr"),
    "no mask": (lambda at: rewrite(at / "registration/P1_mr/mask.zarr", empty), "mask.zarr"),
    "NaN": (lambda at: rewrite(at / "registration/P2_mr/ct.zarr", undefined), "P2_mr/ct.zarr"),
    "another grid": (
        lambda at: rewrite(at / "registration/P3_mr/source.zarr", smaller), "source.zarr"),
}  # fmt: skip


@pytest.mark.parametrize(("damage", "blamed"), DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_file_of_another_stage_is_a_crash_or_an_explanation(workspace, damage, blamed):
    damage(workspace)
    with pytest.raises((DataError, MachineError)) as caught:
        explain(workspace)
    assert blamed in caught.value.where
    assert "run" in caught.value.remedy or caught.value.code == "mask-empty"
    assert not (workspace / "why").exists()


def test_a_folder_of_something_else_is_never_replaced(workspace):
    explain(workspace)
    explain(workspace)  # an earlier explanation is
    (workspace / "why/thesis.tex").write_text("years of work")
    with pytest.raises(UsageError) as caught:
        explain(workspace)
    assert caught.value.code == "out-not-empty"
    assert (workspace / "why/thesis.tex").is_file()


def test_patients_get_the_share_of_a_residual_network_that_the_scan_itself_has(
    workspace,
    describe,  # noqa: F811
):
    fold = workspace / "training/mr_fold0"
    shutil.rmtree(fold)
    network = {"name": "residual", "base": {"name": "toy", "slices": 3}}
    write_fold(fold, describe(0, network=network), seed=0)
    found = explain(workspace)["patients"]
    model = ModelDescription.load(fold / "model.json")
    folder = workspace / "registration/P3_mr"
    source, mask = (read_volume(folder / f"{n}.zarr").array for n in ("source", "mask"))
    inputs, (_, y, x) = _window(source, mask > 0, (2, 20, 15), model)
    calibrated = (float(inputs[0, 1, y, x]) + 1) / 2 * (3071 + 1024) - 1024
    assert found["calibrated_hu"] == pytest.approx(calibrated, rel=1e-4)
    total = sum(found["shares_hu"].values()) + calibrated
    assert total == pytest.approx(found["hu_of_the_refitted_layer"], rel=1e-3)


def test_a_network_of_which_the_first_columns_answer_is_explained_by_another_layer(
    workspace,
    describe,  # noqa: F811
):
    fold = workspace / "training/mr_fold0"
    shutil.rmtree(fold)
    network = {"name": "unet_plus_plus", "slices": 3, "width": 8, "columns": True, "answering": 2}
    write_fold(fold, describe(0, network=network, divisor=32), seed=0)
    patients = explain(workspace)["patients"]
    assert sum(patients["shares_hu"].values()) == pytest.approx(
        patients["hu_of_the_refitted_layer"], rel=1e-4, abs=1e-2
    )


@pytest.mark.parametrize("at", ["1,2", "1,2,x", "-1,2,3", "1.5,2,3"])
def test_a_voxel_that_cannot_be_read_is_reported_before_anything_is_loaded(at, capsys, tmp_path):
    arguments = ["explain", "P3_mr", f"--at={at}", "--out", str(tmp_path / "why")]
    assert guarded(lambda: command_line(arguments)) == 2
    assert "whole numbers" in capsys.readouterr().err
