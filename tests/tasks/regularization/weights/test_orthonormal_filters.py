from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from synthct.data.errors import UsageError
from synthct.tasks.training.optimisation import make_optimizer
from synthct.tasks.training.params import OptimizerParams


def value(problem, rows, **options):
    layer = nn.Linear(len(rows[0]), len(rows), bias=False).double()
    layer.weight.data = torch.tensor(rows, dtype=torch.float64)
    small = problem("orthonormal_filters", model=nn.Sequential(layer), **options)
    return small.member.regularizer.penalty(small.step()).item()


def test_hand_value(problem):
    # Squared lengths 4 and 1, inner product 2.
    assert value(problem, [[2.0, 0.0], [1.0, 0.0]]) == pytest.approx(0.5 * (9 + 4 + 4))


def test_more_filters_than_weights_are_parted_into_banks(problem):
    rows = [[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]]
    assert value(problem, rows) == 0.0


def test_acting_every_third_step_is_three_times_as_strong(problem):
    rows = [[2.0, 0.0], [1.0, 0.0]]
    assert value(problem, rows, every=3) == pytest.approx(3 * value(problem, rows))


def chain(depth=6, gain=0.5, seed=0):
    """1 x 1 convolutions without anything between them, too weak to pass an error back."""
    torch.manual_seed(seed)
    widths = [2, *[4] * depth, 1]
    layers = [nn.Conv2d(i, o, 1, bias=False) for i, o in itertools.pairwise(widths)]
    model = nn.Sequential(*layers).double()
    with torch.no_grad():
        for layer in model:
            layer.weight *= gain / torch.linalg.matrix_norm(layer.weight.flatten(1), 2)
    return model


def errors(small):
    """Size of the error at every layer's output."""
    kept = []
    x = small.batch.source
    for layer in small.model:
        x = layer(x)
        x.retain_grad()
        kept.append(x)
    (x - small.batch.target).abs().mean().backward()
    return [feature.grad.norm().item() for feature in kept]


def gradients(problem, **options):
    small = problem("orthonormal_filters", model=chain(), **options)
    small.one_step()
    return [layer.weight.grad for layer in small.model]


def test_hand_factor_is_the_ratio_of_the_errors(problem):
    sizes = errors(problem("orthonormal_filters", model=chain()))
    plain = gradients(problem, weight=1e-15, modulation=False)
    raised = gradients(problem, weight=1e-15, limit=1e9)
    for size, before, after in zip(sizes, plain, raised, strict=True):
        torch.testing.assert_close(after, sizes[-1] / size * before, rtol=1e-5, atol=1e-12)


def test_the_penaltys_own_gradient_is_not_modulated(problem):
    small = problem("orthonormal_filters", model=chain(), limit=1e9)
    own = torch.autograd.grad(small.member.regularizer.penalty(small.step()), small.model[0].weight)
    light, heavy = [gradients(problem, weight=weight, limit=1e9)[0] for weight in (1.0, 3.0)]
    torch.testing.assert_close(heavy - light, 2 * own[0])


def test_a_factor_stays_within_its_limit(problem):
    plain, raised = gradients(problem, modulation=False), gradients(problem, limit=1.0)
    for before, after in zip(plain, raised, strict=True):
        torch.testing.assert_close(before, after)


def test_layers_are_compared_in_the_order_in_which_they_run(problem):
    small = problem("orthonormal_filters", model=chain())
    small.one_step()
    assert list(small.member.memory) == [str(i) for i in range(7)]
    small.one_step()
    assert list(small.member.memory) == [str(i) for i in range(7)]


@pytest.mark.parametrize("options", [{"limit": 0.5}, {"every": 0}])
def test_impossible_options_are_refused(problem, options):
    with pytest.raises(UsageError, match="must be"):
        problem("orthonormal_filters", **options)


def check_errors_arrive_at_full_size(problem, descend):
    small = problem("orthonormal_filters", weight=1.0, model=chain(), modulation=False)
    descend(small, steps=100, learning_rate=0.1, data=False)
    sizes = errors(small)
    assert 0.8 < sizes[0] / sizes[-1] < 1.25


@pytest.mark.claim
def test_errors_no_longer_vanish_on_their_way_to_the_first_layer(problem, descend, fails_without):
    """The paper's claim: orthonormal filters pass the backward error at its length."""
    sizes = errors(problem("orthonormal_filters", model=chain()))
    assert sizes[0] / sizes[-1] < 0.02
    check_errors_arrive_at_full_size(problem, descend)
    fails_without("orthonormal_filters", check_errors_arrive_at_full_size, problem, descend)


def left(problem, *, modulation):
    """Error that is left by a deep plain network after a few steps, as a share of the target."""
    small = problem(
        "orthonormal_filters", weight=1e-9, model=chain(), modulation=modulation, limit=100.0
    )
    small.batch.target.copy_(small.batch.source.mean(dim=1, keepdim=True))
    params = OptimizerParams(kind="sgd", learning_rate=0.05, betas=(0.9, 0.99), weight_decay=0.0)
    optimizer = make_optimizer(small.model, params)
    for number in range(60):
        small.one_step(number)
        optimizer.step()
    error = small.objective() / small.batch.target.abs().mean()
    return error.item()


@pytest.mark.claim
def test_a_deep_plain_network_learns_with_modulated_gradients(problem):
    """The paper's claim, under the optimizer that follows the size of gradients."""
    plain, modulated = [left(problem, modulation=m) for m in (False, True)]
    assert plain > 0.9
    assert modulated < 0.5 * plain
