from __future__ import annotations

import pytest
import torch
from torch import nn

from synthct.tasks.training.optimisation import learning_rate, make_optimizer, moving_average
from synthct.tasks.training.params import OptimizerParams


def rates(total, **options):
    return [learning_rate(step, total, OptimizerParams(**options)) for step in range(total)]


def test_the_default_is_the_recipe():
    (group,) = make_optimizer(nn.Linear(2, 2), OptimizerParams()).param_groups
    assert (group["lr"], group["betas"], group["weight_decay"]) == (1e-3, (0.9, 0.999), 1e-3)
    steps = (0, 24_999, 25_000, 50_000)
    assert [learning_rate(s, 100_000, OptimizerParams()) for s in steps] == [
        1e-3, 1e-3, 5e-4, 2.5e-4,
    ]  # fmt: skip


def test_hand_value_of_two_steps_with_momentum():
    """Gradient 1, rate 0.1, momentum 0.5: steps of 0.1 and 0.15."""
    weight = nn.Linear(1, 1, bias=False)
    nn.init.ones_(weight.weight)
    params = OptimizerParams(kind="sgd", learning_rate=0.1, betas=(0.5, 0.9), weight_decay=0.0)
    optimizer = make_optimizer(weight, params)
    for expected in (0.9, 0.75):
        weight.weight.grad = torch.ones(1, 1)
        optimizer.step()
        assert weight.weight.item() == pytest.approx(expected)


def test_cosine_starts_at_the_top_and_ends_near_zero():
    curve = rates(100, learning_rate=1.0, schedule="cosine")
    assert curve[0] == 1.0
    assert curve[50] == pytest.approx(0.5)
    assert 0 < curve[-1] < 0.001
    assert curve == sorted(curve, reverse=True)


def test_one_cycle_rises_then_falls():
    curve = rates(100, learning_rate=1.0, schedule="one_cycle", warm_up=0.2)
    assert curve[0] == pytest.approx(1 / 21)
    assert max(curve) == curve[20] == 1.0
    assert curve[-1] < 0.001


def test_the_moving_average_forgets_its_start_and_copies_running_statistics():
    model = nn.BatchNorm1d(1)
    average = moving_average(model, decay=0.5)
    with torch.no_grad():
        model.weight.fill_(3.0)
        model.running_mean.fill_(7.0)
    average.update_parameters(model)  # decay 1 / (9 + 1) = 0.1: 0.1 * 1 + 0.9 * 3
    assert average.module.weight.item() == pytest.approx(2.8)
    assert average.module.running_mean.item() == 7.0
    average.n_averaged.fill_(1000)
    average.update_parameters(model)  # decay 0.5
    assert average.module.weight.item() == pytest.approx(2.9)
    assert not any(p.requires_grad for p in average.module.parameters())
