from __future__ import annotations

import copy

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from synthct.tasks.models.description import ModelDescription
from synthct.tasks.training.fit import fit
from synthct.tasks.training.interpolation import (
    best_between,
    between,
    layer_rises,
    outstanding,
)


def test_hand_value():
    joint = {"a.weight": torch.tensor([1.0]), "b.weight": torch.tensor([1.0]),
             "b.num_batches_tracked": torch.tensor(3)}  # fmt: skip
    tuned = {"a.weight": torch.tensor([3.0]), "b.weight": torch.tensor([3.0]),
             "b.num_batches_tracked": torch.tensor(9)}  # fmt: skip
    found = between(joint, tuned, 0.25, ["b"])
    assert {name: value.item() for name, value in found.items()} == {
        "a.weight": 1.5, "b.weight": 1.0, "b.num_batches_tracked": 3,
    }  # fmt: skip


def test_a_layer_on_which_the_error_hangs_stands_out():
    torch.manual_seed(0)
    model = nn.Sequential(*[nn.Linear(4, 4, bias=False) for _ in range(5)]).double()
    x = torch.randn(20, 4, dtype=torch.float64)

    def error():
        sharp = 30 * (model[2].weight - first[2]).square().sum()
        return sharp + sum((m.weight - f).square().sum() for m, f in zip(model, first, strict=True))

    first = [m.weight.detach().clone() for m in model]
    before = model(x)
    assert outstanding(layer_rises(model, error, seed=1)) == ["2"]
    assert torch.equal(model(x), before)


def ridge(count, law, rng, *, start=None, steps=200):
    """Descent on few noisy observations of a linear law."""
    x = torch.randn(count, 20, generator=rng, dtype=torch.float64)
    y = x @ law + 2 * torch.randn(count, 1, generator=rng, dtype=torch.float64)
    w = torch.zeros(20, 1, dtype=torch.float64) if start is None else start.clone()
    for _ in range(steps):
        w = w - 0.05 * 2 * x.T @ (x @ w - y) / count
    return w


@pytest.mark.parametrize("seed", range(3))
def test_between_all_regions_and_one_a_shifted_region_is_predicted_better_than_at_both_ends(seed):
    """Many patients of another law, then few of the region's own: each end has its own error."""
    rng = torch.Generator().manual_seed(seed)
    common = torch.randn(20, 1, generator=rng, dtype=torch.float64)
    own = common + 0.5 * torch.randn(20, 1, generator=rng, dtype=torch.float64)
    joint = ridge(500, common, rng)
    tuned = ridge(24, own, rng, start=joint)
    error = lambda weights: (weights["w"] - own).norm().item()  # noqa: E731
    _, least, text = best_between({"w": joint}, {"w": tuned}, [], error)
    assert least < 0.9 * min(error({"w": joint}), error({"w": tuned}))
    assert "of the way" in text


def test_fine_tuning_may_keep_weights_in_between(order):
    """Steps far too long are half undone, and the description's error is that of what is kept."""
    joint = order("joint", steps=3)
    fit(**joint)
    start = joint["out"] / "weights.safetensors"
    extra = {"steps": 2, "optimizer": {"learning_rate": 0.05}, "validation_every": 1}
    plain, mixed = order("plain", **extra), order("mixed", **extra)
    fit(**plain, start=start)
    fit(**copy.copy(mixed), start=start, interpolate=True)
    errors = [
        ModelDescription.load(a["out"] / "model.json").validation_mae_hu for a in (plain, mixed)
    ]
    assert errors[1] <= errors[0]
    kept = load_file(mixed["out"] / "weights.safetensors")
    assert kept.keys() == load_file(start).keys()
