from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from synthct.data.errors import UsageError
from synthct.tasks.regularization.base import Regularizer
from synthct.tasks.regularization.gradients.finite_difference_gradient import (
    FiniteDifferenceGradient,
)


class Cubic(nn.Module):
    """L = x^3 / 3 at x = 2: gradient 4, Hessian 4."""

    def __init__(self):
        super().__init__()
        self.x = nn.Parameter(torch.tensor(2.0, dtype=torch.float64))

    def loss(self):
        return self.x**3 / 3


@pytest.mark.parametrize(
    ("scheme", "difference"),
    [
        ("forward", (2.4**2 - 4) / 0.1),  # ahead at 2 + 0.1 * 4
        ("backward", (4 - 1.6**2) / 0.1),
        ("centred", (2.4**2 - 1.6**2) / 0.2),  # exact for a cubic: H g = 16
    ],
)
def test_hand_value(problem, scheme, difference):
    small = problem("finite_difference_gradient", scheme=scheme, ascent=0.1)
    model = Cubic()
    model.loss().backward()
    step = replace(small.step(), model=model, objective=model.loss, strength=0.5)
    small.member.regularizer.gradient(step)
    assert model.x.grad.item() == pytest.approx(4 + 0.5 * difference)
    assert model.x.item() == 2.0


def test_a_small_ascent_is_the_exact_gradient_of_the_penalty(problem):
    tiny = problem("finite_difference_gradient", scheme="centred", ascent=1e-5)
    exact = problem("gradient_norm", method="exact")
    tiny.one_step()
    exact.one_step()
    for a, b in zip(tiny.model.parameters(), exact.model.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-3, atol=1e-5)


def test_it_acts_at_every_kth_step_only(problem):
    every, plain = (problem("finite_difference_gradient", w, every=3) for w in (1.0, 0.0))
    every.one_step(number=4)
    plain.one_step(number=4)
    for a, b in zip(every.model.parameters(), plain.model.parameters(), strict=True):
        assert torch.equal(a.grad, b.grad)


@pytest.mark.parametrize("options", [{"scheme": "up"}, {"ascent": 0.0}, {"every": 0}])
def test_impossible_options_are_refused(problem, options):
    with pytest.raises(UsageError, match=r"(must|should) be"):
        problem("finite_difference_gradient", **options)


class Diagonal(nn.Module):
    """The paper's solvable model: weights u^2 - v^2, fewer samples than weights, sparse truth."""

    def __init__(self):
        super().__init__()
        rng = torch.Generator().manual_seed(3)
        self.x = torch.randn((25, 50), generator=rng, dtype=torch.float64)
        self.y = self.x[:, :3].sum(dim=1)
        self.u, self.v = (
            nn.Parameter(torch.full((50,), 0.3, dtype=torch.float64)) for _ in range(2)
        )

    def loss(self):
        return (self.x @ (self.u**2 - self.v**2) - self.y).square().mean() / 4


def effective_scale(problem, weight, scheme="forward"):
    """Mean of u v where training ends.

    Gradient flow keeps u v at the scale of the first weights, which sets the implicit bias: the
    smaller it is, the nearer is the solution to the sparsest one (the rich regime).
    """
    small, model = problem("finite_difference_gradient", scheme=scheme, ascent=0.5), Diagonal()
    step = replace(small.step(), model=model, objective=model.loss, strength=weight)
    for _ in range(500):
        model.zero_grad()
        model.loss().backward()
        if weight:
            small.member.regularizer.gradient(step)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter -= 0.02 * parameter.grad
    assert model.loss().item() < 5e-3  # both fit: only the bias differs
    return float((model.u * model.v).detach().mean())


def is_richer_than_plain(problem):
    return effective_scale(problem, 0.5) < 0.95 * effective_scale(problem, 0.0)


@pytest.mark.claim
def test_a_diagonal_network_moves_to_the_rich_regime(problem):
    """The paper's claim, and that the forward difference does it more strongly."""
    assert is_richer_than_plain(problem)
    schemes = ("forward", "centred", "backward")
    scales = [effective_scale(problem, 0.5, scheme) for scheme in schemes]
    assert scales == sorted(scales)


def test_without_the_extra_gradient_the_property_fails(problem, monkeypatch):
    monkeypatch.setattr(FiniteDifferenceGradient, "gradient", Regularizer.gradient)
    assert not is_richer_than_plain(problem)
