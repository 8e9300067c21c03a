from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional

from synthct.data.errors import UsageError
from synthct.tasks.regularization.features.hypersphere_trace import HypersphereTrace


def test_hand_value_on_a_circle():
    """Surrogates at 0, 90 and 180 degrees of bins 0, 1 and 3; points at 0 and 270 degrees."""
    trace = HypersphereTrace(bins=4, angle_deg=60.0, homogeneity=0.5)
    curve = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0], [-1.0, 0.0]])
    present = torch.tensor([True, True, False, True])
    value = trace.geometry(curve, present, torch.tensor([[1.0, 0.0], [0.0, -1.0]]))
    enveloping = (0 + 0.5) / 2  # cos 60 = 0.5; the nearest surrogate of 270 degrees is at 90
    assert value.item() == pytest.approx(enveloping + 0.5 * 3 * (2 / 1 + 2 / 2) / 2)


def test_of_all_curves_with_the_same_ends_the_evenly_spaced_one_costs_least():
    trace = HypersphereTrace(bins=3, homogeneity=1.0)
    present, none = torch.ones(3, dtype=torch.bool), torch.tensor([[1.0, 0.0]])

    def cost(middle):
        angles = torch.tensor([0.0, middle, 1.0])
        curve = torch.stack([angles.cos(), angles.sin()], dim=1)
        return trace.geometry(curve, present, none).item()

    assert cost(0.5) < min(cost(0.3), cost(0.7))


def test_a_bin_that_the_batch_lacks_keeps_its_surrogate(problem):
    small = problem("hypersphere_trace", bins=4)
    small.one_step()
    small.composition.project(small.step())
    before = small.member.memory["surrogates"].clone()
    lacking = replace(small.batch, target=small.batch.target.clamp(max=-0.6))
    small.composition.evaluate(small.step(batch=lacking))
    small.composition.project(small.step())
    after = small.member.memory["surrogates"]
    torch.testing.assert_close(before[1:], after[1:])
    assert not torch.equal(before[0], after[0])


def test_a_tissue_whose_features_are_all_zero_does_not_make_the_loss_infinite(problem):
    model = nn.Sequential(nn.Conv2d(2, 3, 1), nn.ReLU(), nn.Conv2d(3, 1, 1)).double()
    model[0].weight.data = model[0].weight.data.abs()
    model[0].bias.data.zero_()
    small = problem("hypersphere_trace", model=model, bins=4)
    source = small.batch.target.sign().expand(-1, 2, -1, -1)  # below 0: behind the ReLU all zero
    evaluated = small.composition.evaluate(small.step(batch=replace(small.batch, source=source)))
    assert torch.isfinite(evaluated.value)
    evaluated.value.backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())
    small.composition.project(evaluated.step)
    known = small.member.memory["surrogates"].norm(dim=1)
    torch.testing.assert_close(known, torch.tensor([0.0, 0.0, 1.0, 1.0], dtype=torch.float64))


@pytest.mark.parametrize(
    "options",
    [{"bins": 2}, {"angle_deg": 90.0}, {"homogeneity": -1.0}, {"temperature": 0.0},
     {"momentum": 1.0}, {"points": 0}],
)  # fmt: skip
def test_impossible_options_are_refused(problem, options):
    with pytest.raises(UsageError, match="must"):
        problem("hypersphere_trace", **options)


def trained(problem, weight):
    """Spread of the steps between neighbouring HU bins, as a share of their mean."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(4, 16, 1), nn.Tanh(), nn.Conv2d(16, 3, 1), nn.Tanh(), nn.Conv2d(3, 1, 1)
    ).double()
    small = problem("hypersphere_trace", weight=weight, model=model, bins=10)
    rng = torch.Generator().manual_seed(3)

    def draw(share):
        rare = torch.rand((16, 1, 8, 8), generator=rng, dtype=torch.float64) < share
        spread = torch.rand((16, 1, 8, 8), generator=rng, dtype=torch.float64)
        target = torch.where(rare, spread * 1.8 - 0.9, spread * 0.18 - 0.59)
        noise = 0.05 * torch.randn((16, 4, 8, 8), generator=rng, dtype=torch.float64)
        source = torch.cat([torch.sin(k * target) for k in (1, 2, 3, 4)], dim=1) + noise
        return replace(small.batch, source=source, target=target, mask=torch.ones_like(target))

    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for number in range(250):
        step = replace(small.step(number, draw(0.05), seed=number), total=250)
        evaluated = small.composition.evaluate(step)
        optimizer.zero_grad()
        evaluated.value.backward()
        optimizer.step()
        small.composition.project(evaluated.step)
    even = draw(1.0)
    with torch.no_grad():
        z = functional.normalize(model[:4](even.source).movedim(1, -1).reshape(-1, 3), dim=1)
    regularizer = small.member.regularizer
    curve, _ = regularizer._centroids(z, regularizer._bin(even.target.flatten()))
    steps = (curve[1:] - curve[:-1]).norm(dim=1)
    return (steps.std() / steps.mean()).item()


def rare_tissue_gets_as_much_room(problem):
    return trained(problem, 1.0) < 0.6 * trained(problem, 0.0)


@pytest.mark.claim
def test_equal_steps_in_hu_are_equal_steps_of_the_feature(problem):
    """The paper's claim: a uniform representation although most targets are alike."""
    assert rare_tissue_gets_as_much_room(problem)
