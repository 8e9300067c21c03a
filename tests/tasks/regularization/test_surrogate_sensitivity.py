from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

from synthct.data.errors import UsageError

NAME = "surrogate_sensitivity"


def probability(change, threshold):
    return 1 / (1 + math.exp(-4 * (change - threshold) / threshold))


def test_it_adds_the_derivative_of_the_probability_at_the_noise_drawn(problem):
    """Against differences of the probability itself in each weight, with the same draw."""
    torch.manual_seed(4)
    model = nn.Sequential(nn.Conv2d(2, 3, 1), nn.Tanh(), nn.Conv2d(3, 1, 1)).double()
    small = problem(NAME, model=model, reach=0.3, threshold=0.1, every=1)
    plain = problem(NAME, weight=0.0, model=copy.deepcopy(model))
    rng = small.step().seen_by(NAME, 1.0, {}).rng
    parameters = list(model.parameters())
    noise = torch.cat([
        (0.3 * p.detach().square().mean().sqrt()
         * torch.randn(p.shape, generator=rng, dtype=torch.float64)).flatten()
        for p in parameters
    ])  # fmt: skip
    start = torch.nn.utils.parameters_to_vector(parameters).detach()
    other = copy.deepcopy(model)

    def value(weights):
        out = []
        for at in (weights + noise, weights):
            torch.nn.utils.vector_to_parameters(at, other.parameters())
            out.append(other(small.batch.source).detach())
        return probability((out[0] - out[1]).abs().mean().item(), 0.1)

    small.one_step()
    plain.one_step()
    pairs = zip(parameters, plain.model.parameters(), strict=True)
    added = torch.cat([(a.grad - b.grad).flatten() for a, b in pairs])
    tiny = 1e-6 * torch.eye(len(start), dtype=torch.float64)
    slopes = torch.tensor([(value(start + t) - value(start - t)) / 2e-6 for t in tiny])
    assert slopes.abs().max() > 0.1
    torch.testing.assert_close(added, slopes.double(), rtol=1e-3, atol=1e-4)


def test_the_worst_spread_is_the_largest_and_stays_within_its_bound(problem):
    small = problem(NAME, every=1, rate=0.5)
    for number in range(6):
        small.one_step(number)
    assert small.member.memory["spread"].item() == pytest.approx(0.1)
    assert abs(small.member.memory["mean"].item()) <= 0.1


@pytest.mark.parametrize(
    "options", [{"reach": 0.0}, {"threshold": -1.0}, {"rate": 0.0}, {"every": 0}]
)
def test_impossible_options_are_refused(problem, options):
    with pytest.raises(UsageError, match="must be"):
        problem(NAME, **options)


def change_when_rounded(problem, weight):
    """Mean change of the output on unseen patches when the weights are rounded to 4 bits."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 16, 1), nn.Tanh(), nn.Conv2d(16, 1, 1)).double()
    small = problem(NAME, weight=weight, model=model, reach=0.2, threshold=0.05, every=1)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for number in range(150):
        small.one_step(number)
        optimizer.step()
    rng = torch.Generator().manual_seed(9)
    unseen = torch.randn((4, 2, 8, 8), generator=rng, dtype=torch.float64)
    rounded = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in rounded.parameters():
            unit = parameter.abs().max() / 7
            parameter.copy_((parameter / unit).round() * unit)
        return (rounded(unseen) - model(unseen)).abs().mean().item()


@pytest.mark.claim
def test_rounded_weights_change_the_output_less(problem):
    """The paper's claim: training against random changes makes the surrogate less sensitive."""
    assert change_when_rounded(problem, 0.3) < 0.6 * change_when_rounded(problem, 0.0)
