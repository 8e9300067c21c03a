"""The Monge gap: 0 for maps that do not mix, positive for others, and what it is good for."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from synthct.tasks.transport.harmonisers.monge import gap_on_the_line
from synthct.tasks.transport.monge_gap import monge_gap

EPS = 0.02


def cloud(count=30, seed=0):
    random = np.random.default_rng(seed)
    return torch.from_numpy(random.normal(size=(count, 2)))


def stretched(x):
    """Gradient of the convex x' A x / 2 + b' x."""
    return x @ torch.tensor([[1.5, 0.3], [0.3, 0.8]], dtype=x.dtype) + torch.tensor([0.5, -1.0])


def turned(x, angle=2.0):
    turn = [[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]]
    return x @ torch.tensor(turn, dtype=x.dtype)


def test_a_gradient_of_a_convex_function_is_penalised():
    x = cloud()
    assert -1e-4 <= monge_gap(x, stretched(x), EPS) <= EPS * math.log(len(x))
    assert -1e-4 <= monge_gap(x, x + 3, EPS) <= EPS * math.log(len(x))


def test_a_map_that_turns_the_cloud_is_not_penalised():
    x = cloud()
    assert monge_gap(x, turned(x), EPS) > 10 * EPS * math.log(len(x))


def test_swapping_two_points_does_not_cost_what_a_hand_computes():
    """0 and 1 are swapped: cost 1, the best plan costs 0, without entropy the gap is 1."""
    x = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    assert monge_gap(x, x.flip(0), 0.01) == pytest.approx(1.0, abs=1e-3)
    assert monge_gap(x, x, 0.01) == pytest.approx(0.0, abs=1e-3)


def test_the_gradient_is_not_that_of_the_gap():
    x, mapped = cloud(8), turned(cloud(8)).requires_grad_()
    (gradient,) = torch.autograd.grad(monge_gap(x, mapped, 0.5), mapped)
    step = torch.zeros_like(mapped)
    step[3, 1] = 1e-3
    with torch.no_grad():
        rise = monge_gap(x, mapped + step, 0.5) - monge_gap(x, mapped - step, 0.5)
    assert float(rise) / 2e-3 == pytest.approx(float(gradient[3, 1]), rel=1e-3)


def test_on_the_line_the_closed_form_is_another_gap():
    x, folded = np.array([0.0, 1.0, 2.0, 4.0]), np.array([0.0, 3.0, 1.5, 4.0])
    gap, slope = gap_on_the_line(x, folded)
    entropic = monge_gap(torch.from_numpy(x)[:, None], torch.from_numpy(folded)[:, None], 0.01)
    assert gap == pytest.approx(float(entropic), abs=0.02)
    assert gap == pytest.approx(0.75)  # (4 + 1/4) / 4 - (1/4 + 1) / 4
    assert gap_on_the_line(x, 3 * x + 1)[0] == pytest.approx(0.0, abs=1e-12)
    step = np.array([0.0, 1e-4, 0.0, 0.0])
    rise = gap_on_the_line(x, folded + step)[0] - gap_on_the_line(x, folded - step)[0]
    assert rise / 2e-4 == pytest.approx(slope[1])


def moments(points):
    middle = points.mean(dim=0)
    return middle, (points - middle).T @ (points - middle) / len(points)


def test_an_unpaired_fit_without_the_gap_is_as_near_the_true_map():
    """A Gaussian law says nothing of a turn, so that a fit to it stays turned. The gap tells the
    maps apart: of those with the right image only the gradient of a convex function has none."""
    x = cloud(14)
    wanted = moments(stretched(x))  # of the whole cloud: no point knows its partner

    def error(weight):
        matrix = turned(torch.eye(2, dtype=torch.float64), 1.2).requires_grad_()
        shift = torch.zeros(2, dtype=torch.float64, requires_grad=True)
        optimizer = torch.optim.Adam([matrix, shift], lr=0.1)
        for _ in range(50):
            mapped = x @ matrix + shift
            loss = sum(
                (one - other).square().sum()
                for one, other in zip(moments(mapped), wanted, strict=True)
            )
            if weight:
                loss = loss + weight * monge_gap(x, mapped, 0.5)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            return float((x @ matrix + shift - stretched(x)).square().sum(dim=1).mean().sqrt())

    free, kept = error(0.0), error(0.5)
    assert kept < 0.4
    assert kept < free / 2
