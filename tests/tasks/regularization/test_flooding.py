from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from synthct.data.errors import UsageError
from synthct.tasks.regularization.base import Regularizer
from synthct.tasks.regularization.gradients.flooding import Flooding


def flooded(small, value):
    """The objective with the penalty at strength one."""
    penalty = small.member.regularizer.penalty(replace(small.step(), value=value))
    return value if penalty is None else value + penalty


@pytest.mark.parametrize(("loss", "objective"), [(0.3, 0.3), (0.1, 0.1), (0.04, 0.16), (0.0, 0.2)])
def test_the_objective_is_mirrored_at_the_level(problem, loss, objective):
    small = problem("flooding", level=0.1)
    value = torch.tensor(loss, dtype=torch.float64)
    assert flooded(small, value).item() == pytest.approx(objective)


def test_below_the_level_it_ascends(problem):
    small = problem("flooding", level=100.0)
    plain = problem("flooding", level=0.0)
    small.one_step()
    plain.one_step()
    for a, b in zip(small.model.parameters(), plain.model.parameters(), strict=True):
        torch.testing.assert_close(a.grad, -b.grad)


def test_a_negative_level_is_refused(problem):
    with pytest.raises(UsageError, match="must not be negative"):
        problem("flooding", level=-0.1)


def test_one_step_down_and_one_up_is_the_backward_difference(problem):
    """On a quadratic exactly: the weights move by -rate^2 times Hessian times gradient."""
    curvatures = torch.tensor([1.0, 4.0], dtype=torch.float64)
    theta = nn.Parameter(torch.tensor([1.0, 0.5], dtype=torch.float64))
    loss = lambda: 0.5 * (curvatures * theta**2).sum()  # noqa: E731
    slope = (curvatures * theta).detach()
    small, rate = problem("flooding", level=0.9), 0.1  # loss 1, then below 0.9
    before = theta.detach().clone()
    for _ in range(2):
        theta.grad = None
        flooded(small, loss()).backward()
        with torch.no_grad():
            theta -= rate * theta.grad
    assert (theta.detach() - before).tolist() == pytest.approx(
        (-(rate**2) * curvatures * slope).tolist()
    )


def floats_in_a_flat_place(problem):
    """L = (x y - 1)^2 / 2 from a sharp start: plain descent keeps x^2 - y^2 = 12, flooding not."""
    small = problem("flooding", level=0.2)
    theta = nn.Parameter(torch.tensor([3.5, 0.5], dtype=torch.float64))
    for _ in range(1500):
        theta.grad = None
        flooded(small, 0.5 * (theta[0] * theta[1] - 1) ** 2).backward()
        with torch.no_grad():
            theta -= 0.05 * theta.grad
    x, y = theta.tolist()
    return x**2 + y**2 < 8


@pytest.mark.claim
def test_the_floating_loss_finds_flatter_places(problem):
    """The paper's claim: flooding is gradient regularization in disguise."""
    assert floats_in_a_flat_place(problem)


def test_without_the_penalty_the_property_fails(problem, monkeypatch):
    monkeypatch.setattr(Flooding, "penalty", Regularizer.penalty)
    assert not floats_in_a_flat_place(problem)
