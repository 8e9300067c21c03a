from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from synthct.data.errors import UsageError
from synthct.tasks.regularization.base import Regularizer
from synthct.tasks.regularization.gradients.surrogate_sharpness import SurrogateSharpness


class Product(nn.Module):
    """f(x) = a b x: for mean input 1, gradient (b, a) of the mean output."""

    def __init__(self):
        super().__init__()
        self.a = nn.Parameter(torch.tensor(3.0, dtype=torch.float64))
        self.b = nn.Parameter(torch.tensor(4.0, dtype=torch.float64))

    def forward(self, x):
        return self.a * self.b * x


def ones(small):
    return replace(small.batch, source=torch.ones_like(small.batch.target))


def test_hand_value(problem):
    small = problem("surrogate_sharpness", model=Product(), method="exact", every=1)
    evaluated = small.composition.evaluate(small.step(batch=ones(small)))
    penalty = evaluated.terms["surrogate_sharpness"]
    assert penalty.item() == pytest.approx(5.0)  # |(4, 3)|
    slopes = torch.autograd.grad(penalty, list(small.model.parameters()))
    assert [s.item() for s in slopes] == pytest.approx([3 / 5, 4 / 5])


def test_only_the_body_counts(problem):
    small = problem("surrogate_sharpness", model=Product(), method="exact", every=1)
    batch = ones(small)
    source, mask = batch.source.clone(), batch.mask.clone()
    source[:, :, 0], mask[:, :, 0] = 50.0, 0.0
    step = small.step(batch=replace(batch, source=source, mask=mask))
    penalty = small.composition.evaluate(step).terms["surrogate_sharpness"]
    assert penalty.item() == pytest.approx(5.0)


def test_both_methods_agree_on_a_network(problem):
    exact = problem("surrogate_sharpness", method="exact")
    difference = problem("surrogate_sharpness", reach=1e-5)
    exact.one_step()
    difference.one_step()
    for a, b in zip(exact.model.parameters(), difference.model.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-3, atol=1e-4)


def test_it_acts_at_every_kth_step_only(problem):
    every, plain = (problem("surrogate_sharpness", w, every=3) for w in (1.0, 0.0))
    every.one_step(number=4)
    plain.one_step(number=4)
    for a, b in zip(every.model.parameters(), plain.model.parameters(), strict=True):
        assert torch.equal(a.grad, b.grad)


@pytest.mark.parametrize("options", [{"method": "none"}, {"reach": 0.0}, {"every": 0}])
def test_impossible_options_are_refused(problem, options):
    with pytest.raises(UsageError, match=r"(must|should) be"):
        problem("surrogate_sharpness", **options)


def rise_on_unseen(problem, weight):
    """How far the worst small change of the weights raises the mean output on unseen patches."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 8, 1), nn.Tanh(), nn.Conv2d(8, 1, 1)).double()
    small = problem("surrogate_sharpness", weight=weight, model=model, every=1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    for number in range(120):
        small.one_step(number)
        optimizer.step()
    rng = torch.Generator().manual_seed(9)
    unseen = torch.randn((4, 2, 8, 8), generator=rng, dtype=torch.float64)
    parameters = list(model.parameters())
    before = model(unseen).mean()
    slopes = torch.autograd.grad(before, parameters)
    length = torch.cat([s.flatten() for s in slopes]).norm()
    moved = copy.deepcopy(model)
    with torch.no_grad():
        for parameter, slope in zip(moved.parameters(), slopes, strict=True):
            parameter += 0.3 * slope / length
    return (moved(unseen).mean() - before).item()


def is_flatter_on_unseen(problem):
    return rise_on_unseen(problem, 0.5) < 0.9 * rise_on_unseen(problem, 0.0)


@pytest.mark.claim
def test_less_sharpness_where_trained_is_less_sharpness_on_unseen_data(problem):
    """The paper's theorem: the generalised sharpness is bounded by the empirical one."""
    assert is_flatter_on_unseen(problem)


def test_without_the_extra_gradient_the_property_fails(problem, monkeypatch):
    monkeypatch.setattr(SurrogateSharpness, "gradient", Regularizer.gradient)
    assert not is_flatter_on_unseen(problem)
