from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from synthct.data.errors import UsageError
from synthct.tasks.regularization.base import Step


class Quadratic(nn.Module):
    """L = (a x^2 + b y^2) / 2: gradient (a x, b y), Hessian diag(a, b)."""

    def __init__(self, curvatures, start):
        super().__init__()
        self.curvatures = torch.tensor(curvatures, dtype=torch.float64)
        self.theta = nn.Parameter(torch.tensor(start, dtype=torch.float64))

    def loss(self):
        return 0.5 * (self.curvatures * self.theta**2).sum()


def at(small, model, **changes):
    return replace(small.step(), model=model, **changes)


def test_exact_hand_value_and_gradient(problem):
    small = problem("gradient_norm", method="exact")
    model = Quadratic([1.0, 10.0], [2.0, 0.5])
    penalty = small.member.regularizer.penalty(at(small, model, value=model.loss()))
    assert penalty.item() == pytest.approx(0.5 * (2.0**2 + 5.0**2))
    (slope,) = torch.autograd.grad(penalty, [model.theta])
    assert slope.tolist() == pytest.approx([2.0, 50.0])  # Hessian times gradient


def test_the_finite_difference_adds_hessian_times_gradient(problem):
    small = problem("gradient_norm", method="finite_difference")
    model = Quadratic([1.0, 10.0], [2.0, 0.5])
    model.loss().backward()
    step = at(small, model, objective=model.loss, strength=0.1)
    small.member.regularizer.gradient(step)
    assert model.theta.grad.tolist() == pytest.approx([2.0 + 0.2, 5.0 + 5.0])
    assert model.theta.tolist() == [2.0, 0.5]


def test_both_methods_agree_on_a_network(problem):
    first, second = (
        problem("gradient_norm", method="exact"),
        problem("gradient_norm", method="finite_difference", reach=1e-5),
    )
    first.one_step()
    second.one_step()
    for a, b in zip(first.model.parameters(), second.model.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-3, atol=1e-5)


class Kinked(nn.Module):
    """The mean of |t_i - x_i w| over many samples: an l1 fit, whose second derivative is 0."""

    def __init__(self):
        super().__init__()
        rng = torch.Generator().manual_seed(0)
        self.x = torch.randn((400, 3), generator=rng, dtype=torch.float64)
        self.t = torch.randn(400, generator=rng, dtype=torch.float64)
        self.theta = nn.Parameter(torch.full((3,), 0.3, dtype=torch.float64))

    def loss(self):
        return (self.t - self.x @ self.theta).abs().mean()


def test_under_l1_the_default_is_the_derivative_and_a_difference_is_not(problem):
    """The kinks: at l1 the norm of the gradient is constant almost everywhere."""
    model = Kinked()
    exact = problem("gradient_norm")
    penalty = exact.member.regularizer.penalty(at(exact, model, value=model.loss()))
    (slope,) = torch.autograd.grad(penalty, [model.theta], allow_unused=True)
    assert slope is None or slope.abs().max() == 0
    model.loss().backward()
    before = model.theta.grad.clone()
    difference = problem("gradient_norm", method="finite_difference")
    difference.member.regularizer.gradient(at(difference, model, objective=model.loss))
    assert (model.theta.grad - before).abs().max() > 1e-3


def test_acting_every_third_step_is_three_times_as_strong(problem):
    every, always = problem("gradient_norm", every=3), problem("gradient_norm", weight=3.0)
    every.one_step(number=3)
    always.one_step(number=3)
    for a, b in zip(every.model.parameters(), always.model.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad)
    plain = problem("gradient_norm", weight=0.0)
    every.one_step(number=4)
    plain.one_step(number=4)
    for a, b in zip(every.model.parameters(), plain.model.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad)


def test_a_flat_place_is_left_alone(problem):
    small = problem("gradient_norm", method="finite_difference")
    model = Quadratic([1.0, 10.0], [0.0, 0.0])
    model.loss().backward()
    small.member.regularizer.gradient(at(small, model, objective=model.loss))
    assert model.theta.grad.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("options", [{"method": "none"}, {"reach": 0.0}, {"every": 0}])
def test_impossible_options_are_refused(problem, options):
    with pytest.raises(UsageError, match=r"(must|should) be"):
        problem("gradient_norm", **options)


def sharpness_reached(problem, method, weight):
    """Largest curvature of L = (x y - 1)^2 / 2 where gradient descent ends, from a sharp start.

    All minima (x y = 1) are equally deep; their curvature is x^2 + y^2, least at x = y.
    """
    small = problem("gradient_norm", method=method)
    theta = nn.Parameter(torch.tensor([4.0, -2.0], dtype=torch.float64))
    model = nn.ParameterList([theta])
    loss = lambda: 0.5 * (theta[0] * theta[1] - 1) ** 2  # noqa: E731
    for number in range(2500):
        step: Step = replace(
            at(small, model, objective=loss, strength=weight), number=number, total=2500
        )
        value = loss()
        if weight and method == "exact":
            value = value + weight * small.member.regularizer.penalty(replace(step, value=value))
        theta.grad = None
        value.backward()
        if weight and method == "finite_difference":
            small.member.regularizer.gradient(step)
        with torch.no_grad():
            theta -= 1e-3 * theta.grad
    assert loss().item() < 1e-4
    return float((theta.detach() ** 2).sum())


@pytest.mark.claim
@pytest.mark.parametrize("method", ["exact", "finite_difference"])
def test_full_batch_descent_ends_in_a_flatter_minimum(problem, method):
    """The paper's claim: the explicit penalty does what the noise of small batches would do."""
    plain = sharpness_reached(problem, method, 0.0)
    assert sharpness_reached(problem, method, 0.5) < 0.8 * plain
