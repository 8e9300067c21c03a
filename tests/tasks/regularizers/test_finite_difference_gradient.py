from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from data.faults import UsageFault
from tasks.regularizers.finite_difference_gradient import FiniteDifferenceGradient
from tasks.training.step import Regularizer


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
    with pytest.raises(UsageFault, match="must be"):
        problem("finite_difference_gradient", **options)


class Diagonal(nn.Module):
    """The paper's solvable model: weights u^2 - v^2, fewer samples than weights, sparse truth."""

    def __init__(self):
        super().__init__()
        rng = torch.Generator().manual_seed(3)
        self.x = torch.randn((12, 30), generator=rng, dtype=torch.float64)
        self.truth = torch.zeros(30, dtype=torch.float64)
        self.truth[:3] = 1.0
        self.u, self.v = (
            nn.Parameter(torch.full((30,), 0.4, dtype=torch.float64)) for _ in range(2)
        )

    def weights(self):
        return self.u**2 - self.v**2

    def loss(self):
        return (self.x @ (self.weights() - self.truth)).square().mean() / 4


def distance_to_sparse_truth(problem, weight, scheme="forward"):
    small, model = problem("finite_difference_gradient", scheme=scheme, ascent=0.05), Diagonal()
    step = replace(small.step(), model=model, objective=model.loss, strength=weight)
    for _ in range(400):
        model.zero_grad()
        model.loss().backward()
        if weight:
            small.member.regularizer.gradient(step)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter -= 0.05 * parameter.grad
    assert model.loss().item() < 1e-3  # all interpolate: only the bias differs
    return float((model.weights() - model.truth).detach().norm())


def sparser_than_plain(problem):
    return distance_to_sparse_truth(problem, 0.05) < 0.9 * distance_to_sparse_truth(problem, 0.0)


def test_a_diagonal_network_is_biased_to_the_sparse_solution(problem):
    """The paper's claim: gradient regularization prefers the rich regime, forward above all."""
    assert sparser_than_plain(problem)
    forward, backward = (
        distance_to_sparse_truth(problem, 0.05, scheme) for scheme in ("forward", "backward")
    )
    assert forward < backward


def test_without_the_extra_gradient_the_property_fails(problem, monkeypatch):
    monkeypatch.setattr(FiniteDifferenceGradient, "gradient", Regularizer.gradient)
    assert not sparser_than_plain(problem)
