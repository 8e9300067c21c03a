from __future__ import annotations

import pytest
import torch
from torch import nn

from synthct.data.errors import UsageError
from tests.tasks.regularization.toy_training import error, lesson, student, train


def matrix_layer(values):
    layer = nn.Linear(len(values[0]), len(values), bias=False).double()
    layer.weight.data = torch.tensor(values, dtype=torch.float64)
    return nn.Sequential(layer)


def rank(layer, tolerance=1e-6):
    return int(torch.linalg.matrix_rank(layer.weight.detach().flatten(1), rtol=tolerance))


def test_the_cut_keeps_the_energy_by_hand(problem):
    diagonal = [[3.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 1.0]]  # squares 9, 4, 1 of 14
    for energy, expected in ((0.6, 1), (0.9, 2), (0.95, 3)):
        small = problem("trained_rank", model=matrix_layer(diagonal), energy=energy)
        small.composition.project(small.step(0))
        assert rank(small.model[0]) == expected
        assert small.model[0].weight[0, 0].item() == pytest.approx(3.0)


def test_what_is_added_is_not_the_slope_of_the_nuclear_norm(problem):
    torch.manual_seed(0)
    model = matrix_layer(torch.randn(3, 5).tolist())
    small = problem("trained_rank", weight=0.5, model=model, every=3)
    weight = model[0].weight
    weight.grad = torch.ones_like(weight)
    small.composition.gradient(small.step(6))
    free = weight.detach().clone().requires_grad_()
    torch.linalg.svdvals(free).sum().backward()
    torch.testing.assert_close(weight.grad, 1 + 3 * 0.5 * free.grad)


def test_between_its_steps_it_acts(problem):
    small = problem("trained_rank", every=5)
    before = [p.detach().clone() for p in small.model.parameters()]
    small.composition.project(small.step(3))
    assert all(map(torch.equal, before, small.model.parameters()))


@pytest.mark.claim
def test_the_rank_halves_and_the_loss_is_within_a_hundredth_of_the_targets(problem):
    results = {}
    for weight in (0.0, 0.003):
        small = problem("trained_rank", weight=weight, model=student(), energy=0.995, every=10)
        small.batch = lesson()
        released = train(small, 300)
        results[weight] = rank(released[0]), error(released, lesson(seed=1))
    plain, pruned = results[0.0], results[0.003]
    assert plain[0] == 12
    assert pruned[0] <= 6
    assert pruned[1] < plain[1] + 0.01


@pytest.mark.parametrize("options", [{"energy": 0.0}, {"energy": 1.5}, {"every": 0}])
def test_impossible_options_are_refused(problem, options):
    with pytest.raises(UsageError, match="must be"):
        problem("trained_rank", **options)
