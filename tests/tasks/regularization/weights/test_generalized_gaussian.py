from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from synthct.data.errors import UsageError
from synthct.tasks.regularization.weights.generalized_gaussian import fit_distribution
from synthct.tasks.training.optimisation import moving_average


def linear(weights):
    layer = nn.Linear(len(weights), 1, bias=False).double()
    layer.weight.data = torch.tensor([weights], dtype=torch.float64)
    return nn.Sequential(layer)


def test_hand_value_of_a_laplace_prior(problem):
    small = problem("generalized_gaussian", model=linear([1.0, -3.0]), shape=1.0)
    value = small.member.regularizer.penalty(small.step().seen_by("", 1.0, {}))
    scale = math.sqrt(5.0 / 2)  # the variance of Laplace's law is twice its squared scale
    assert value.item() == pytest.approx((1 + 3) / scale, rel=1e-3)


def test_hand_value_of_a_gaussian_prior(problem):
    small = problem("generalized_gaussian", model=linear([1.0, -3.0]), shape=2.0)
    value = small.member.regularizer.penalty(small.step().seen_by("", 1.0, {}))
    assert value.item() == pytest.approx((1 + 9) / 10, rel=1e-3)  # squared scale 2 x 5


@pytest.mark.parametrize("shape", [0.5, 1.0, 2.0])
def test_the_fit_finds_the_law_that_another_library_drew(shape):
    drawn = stats.gennorm.rvs(shape, scale=0.3, size=200_000, random_state=1)
    fitted, scale = fit_distribution(torch.from_numpy(drawn))
    assert fitted == pytest.approx(shape, rel=0.05)
    assert scale == pytest.approx(0.3, rel=0.1)


def test_a_layer_of_zeros_has_a_law_and_a_slope(problem):
    small = problem("generalized_gaussian", model=linear([0.0, 0.0]))
    small.member.regularizer.penalty(small.step().seen_by("", 1.0, {})).backward()
    assert small.model[0].weight.grad.tolist() == [[0.0, 0.0]]


def test_a_run_that_resumes_keeps_the_law_of_its_first_weights(problem):
    first, second = problem("generalized_gaussian"), problem("generalized_gaussian")
    first.composition.begin(first.step())
    second.composition.restore(first.composition.state())
    values = []
    for small in (first, second):
        small.model[0].weight.data *= 3
        step = small.step().seen_by("", 1.0, small.member.memory)
        values.append(small.member.regularizer.penalty(step).item())
    assert values[0] == values[1]


def test_acting_every_third_step_is_three_times_as_strong(problem):
    values = []
    for every in (1, 3):
        small = problem("generalized_gaussian", every=every)
        step = small.step(3).seen_by("", 1.0, {})
        values.append(small.member.regularizer.penalty(step).item())
    assert values[1] == pytest.approx(3 * values[0])


def reshaped(problem, weights):
    """The weights as they are released."""
    small = problem("generalized_gaussian", model=linear(weights.tolist()), deepshape=True)
    return small.composition.kept(small.model)[0].weight.detach().flatten()


def test_deepshape_sharpens_the_law_and_keeps_order_and_spread(problem):
    weights = torch.from_numpy(stats.gennorm.rvs(1.5, size=4000, random_state=2))
    after = reshaped(problem, weights)
    assert fit_distribution(after)[0] == pytest.approx(0.8 * fit_distribution(weights)[0], rel=0.03)
    assert after.std().item() == pytest.approx(weights.std().item(), rel=0.03)
    assert torch.equal(after.argsort(), weights.argsort())


def test_deepshape_is_in_what_is_released_though_a_moving_average_is_kept(problem):
    """The average of the last weights would undo a step that acts on the last weights alone."""
    weights = torch.from_numpy(stats.gennorm.rvs(1.5, size=4000, random_state=2))
    small = problem("generalized_gaussian", model=linear(weights.tolist()), deepshape=True)
    average = moving_average(small.model, 0.9)
    for number in range(10):
        small.composition.project(small.step(number))
        average.update_parameters(small.model)
    released = small.composition.kept(average.module)
    law = fit_distribution(released[0].weight)[0]
    assert law == pytest.approx(0.8 * fit_distribution(weights)[0], rel=0.03)
    assert torch.equal(small.model[0].weight[0], weights)  # training goes on as it was


def test_without_deepshape_the_network_itself_is_released(problem):
    small = problem("generalized_gaussian")
    assert problem("cutout").composition.kept(small.model) is small.model


def test_initial_weights_get_the_shape_of_the_prior(problem):
    weights = torch.from_numpy(stats.norm.rvs(scale=0.2, size=4000, random_state=2))
    model = linear(weights.tolist())
    small = problem("generalized_gaussian", model=model, initialise=True, shape=0.8)
    small.composition.begin(small.step())
    after = model[0].weight.detach().flatten()
    assert fit_distribution(after)[0] == pytest.approx(0.8, rel=0.03)
    assert after.std().item() == pytest.approx(weights.std().item(), rel=0.03)


@pytest.mark.parametrize(
    "options",
    [{"shape": 0.0}, {"sharpening": 1.2}, {"every": 0}, {"initialise": True, "shape": None}],
)
def test_impossible_options_are_refused(problem, options):
    with pytest.raises(UsageError, match="must be"):
        problem("generalized_gaussian", **options)


def bits(weights):
    """Entropy of the weights in steps of 0.02 [bit]."""
    _, counts = np.unique(np.round(weights.detach().numpy() / 0.02), return_counts=True)
    return stats.entropy(counts, base=2)


def trained(problem, strength):
    """Few of the inputs matter, and there are more inputs than samples."""
    rng = torch.Generator().manual_seed(6)
    inputs = torch.randn((60, 120), generator=rng, dtype=torch.float64)
    truth = torch.zeros(120, dtype=torch.float64)
    truth[::24] = torch.tensor([1.0, -1.0, 0.7, -0.7, 0.5])
    torch.manual_seed(7)
    layer = nn.Linear(120, 1, bias=False).double()
    small = problem("generalized_gaussian", weight=strength, model=nn.Sequential(layer))
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.01)
    for number in range(400):
        step = small.step(number).seen_by("", strength, small.member.memory)
        fit = (layer(inputs)[:, 0] - inputs @ truth).square().mean()
        optimizer.zero_grad()
        (fit + strength * small.member.regularizer.penalty(step)).backward()
        optimizer.step()
    return bits(layer.weight), fit_distribution(layer.weight)[0], fit.item()


def check_weights_take_fewer_bits(problem):
    plain, _, _ = trained(problem, 0.0)
    few, shape, fit = trained(problem, 1e-3)
    assert few < 0.5 * plain
    assert shape < 0.3
    assert fit < 0.01  # the variance of what is fitted is about 3.2


@pytest.mark.claim
def test_the_prior_makes_weights_peaked_and_cheap_at_hardly_any_loss(problem, fails_without):
    """The paper's claim: fewer bits a weight, a smaller shape, the same fit."""
    check_weights_take_fewer_bits(problem)
    fails_without("generalized_gaussian", check_weights_take_fewer_bits, problem)
