from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from synthct.data.errors import UsageError


def test_on_a_quadratic_it_is_the_second_derivative(problem):
    """L = (w x - t)^2 has the Hessian 2 w^2: departure w^2 a (1 - a) (x_a - x_b)^2, by hand."""
    model = nn.Conv2d(1, 1, 1, bias=False).double()
    model.weight.data.fill_(1.5)
    small = problem("local_linearity", model=model, radius=0.3, every=1)
    source = torch.full((1, 1, 1, 1), 2.0, dtype=torch.float64)
    batch = replace(small.batch, source=source, target=0 * source, mask=torch.ones_like(source))
    step = small.step(0, batch)
    value = small.composition.evaluate(step).terms["local_linearity"].item()
    rng = step.seen_by("local_linearity", 1.0, {}).rng
    apart = 0.3 * (2 * torch.rand(1, generator=rng) - 2 * torch.rand(1, generator=rng))
    share = torch.rand(1, generator=rng)
    departure = 1.5**2 * share * (1 - share) * apart**2
    assert value == pytest.approx(departure.item() ** 2, rel=1e-5)


def test_a_loss_that_does_not_bend_costs_nothing(problem):
    model = nn.Conv2d(2, 1, 1).double()
    nn.init.zeros_(model.weight)
    small = problem("local_linearity", model=model, every=1)
    value = small.composition.evaluate(small.step()).terms["local_linearity"].item()
    assert value == pytest.approx(0, abs=1e-20)


@pytest.mark.parametrize("options", [{"radius": 0.0}, {"every": 0}])
def test_impossible_options_are_refused(problem, options):
    with pytest.raises(UsageError, match="must be"):
        problem("local_linearity", **options)


def bend(problem, weight):
    """Second difference of the loss along random lines at new inputs, after training."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 16, 1), nn.Tanh(), nn.Conv2d(16, 1, 1)).double()
    small = problem("local_linearity", weight=weight, model=model, radius=0.5, every=1)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for number in range(150):
        optimizer.zero_grad()
        small.objective(small.step(number, seed=number)).backward()
        optimizer.step()
    rng = torch.Generator().manual_seed(9)
    x, along = (
        torch.randn(small.batch.source.shape, generator=rng, dtype=torch.float64) for _ in "xd"
    )
    with torch.no_grad():
        loss = lambda at: (model(at) - small.batch.target).square().mean()  # noqa: E731
        return abs(loss(x + 0.3 * along) - 2 * loss(x) + loss(x - 0.3 * along)).item()


@pytest.mark.claim
def test_the_loss_bends_less_around_inputs_that_were_not_seen(problem):
    """The paper's claim: curvature along random directions falls, without a second derivative."""
    assert bend(problem, 300.0) < 0.3 * bend(problem, 0.0)
