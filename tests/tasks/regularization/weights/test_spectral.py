from __future__ import annotations

import pytest
import torch
from torch import nn

from synthct.data.errors import UsageError


def filled(layer, weight, bias=None):
    layer = layer.double()
    layer.weight.data = torch.tensor(weight, dtype=torch.float64)
    if bias is not None:
        layer.bias.data = torch.tensor(bias, dtype=torch.float64)
    return layer


def penalty(small, number=0):
    return small.member.regularizer.penalty(small.step(number).seen_by("", 1.0, {}))


def test_hand_value_of_a_matrix_and_its_bias(problem):
    layer = filled(nn.Linear(2, 2), [[3.0, 0.0], [0.0, 0.5]], [0.6, 0.8])
    small = problem("spectral", model=nn.Sequential(layer))
    assert penalty(small).item() == pytest.approx((3 - 1) ** 2 + 1.0)  # the 0.5 is free


def test_hand_value_with_the_exponent_of_the_conference_version(problem):
    layer = filled(nn.Linear(2, 2), [[2.0, 0.0], [0.0, 1.0]], [1.0, 1.0])
    small = problem("spectral", model=nn.Sequential(layer), exponent=2)
    assert penalty(small).item() == pytest.approx((4 - 1) ** 2 + 2.0**2)


def test_the_scales_of_a_norm_are_a_diagonal_matrix(problem):
    layer = filled(nn.BatchNorm2d(3), [0.5, -3.0, 1.0], [0.0, 0.0, 0.0])
    small = problem("spectral", model=nn.Sequential(layer))
    assert penalty(small).item() == pytest.approx((3 - 1) ** 2)


def test_a_norm_without_scales_is_left_out(problem):
    model = nn.Sequential(nn.BatchNorm2d(3, affine=False), nn.BatchNorm2d(3)).double()
    assert penalty(problem("spectral", model=model)).item() == 0.0


def test_the_estimate_follows_the_singular_value_as_the_weights_change(problem):
    small = problem("spectral")
    small.composition.begin(small.step())
    weight = small.model[0].weight
    rng = torch.Generator().manual_seed(8)
    for number in range(40):
        change = torch.randn(weight.shape, generator=rng, dtype=weight.dtype)
        weight.data += 0.02 * change
        small.composition.project(small.step(number))
    truth = torch.linalg.matrix_norm(weight.flatten(1), 2).item()
    estimate = lambda: (small.member.memory["0"] @ weight.flatten(1)).norm().item()  # noqa: E731
    assert estimate() == pytest.approx(truth, rel=0.05)
    for number in range(200):
        small.composition.project(small.step(number))
    assert estimate() == pytest.approx(truth, rel=1e-6)


def test_a_layer_of_zeros_can_come_to_life_again(problem):
    layer = filled(nn.Linear(2, 2, bias=False), [[0.0, 0.0], [0.0, 0.0]])
    small = problem("spectral", model=nn.Sequential(layer))
    small.composition.begin(small.step())
    small.composition.project(small.step())
    layer.weight.data = torch.eye(2, dtype=torch.float64) * 3
    value = small.member.regularizer.penalty(small.step().seen_by("", 1.0, small.member.memory))
    assert value.item() == pytest.approx(4.0)


def test_acting_every_third_step_is_three_times_as_strong(problem):
    always, every = problem("spectral"), problem("spectral", every=3)
    torch.testing.assert_close(penalty(every, 3), 3 * penalty(always, 3))
    assert penalty(every, 4) is None


def test_layers_that_hold_nothing_are_reported(problem):
    small = problem("spectral", layers=("2",))
    assert small.member.regularizer.problems(small.model) == [
        "layer '2' has no weight matrix and no scales"
    ]
    small = problem("spectral", layers=("9",))
    assert "no layer is called '9'" in small.member.regularizer.problems(small.model)[0]


@pytest.mark.parametrize("options", [{"exponent": 0}, {"iterations": 0}, {"every": 0}])
def test_impossible_options_are_refused(problem, options):
    with pytest.raises(UsageError, match="must be"):
        problem("spectral", **options)


def check_largest_singular_values_go_to_one(problem, descend):
    small = problem("spectral", weight=20.0)
    with torch.no_grad():
        small.model[0].weight *= 6
        small.model[3].weight *= 0.1
        small.model[1].weight *= 4
    descend(small, steps=100, learning_rate=0.01)
    first, norm, _, last = small.model
    values = torch.linalg.svdvals(first.weight.flatten(1))
    assert values[0].item() == pytest.approx(1.0, abs=0.05)
    assert values[-1].item() < 0.9
    assert torch.linalg.svdvals(last.weight.flatten(1))[0].item() == pytest.approx(1.0, abs=0.05)
    assert norm.weight.abs().max().item() == pytest.approx(1.0, abs=0.05)


@pytest.mark.claim
def test_training_holds_the_largest_singular_values_at_one(problem, descend, fails_without):
    """The paper's claim, for layers that start too large and too small."""
    check_largest_singular_values_go_to_one(problem, descend)
    fails_without("spectral", check_largest_singular_values_go_to_one, problem, descend)
