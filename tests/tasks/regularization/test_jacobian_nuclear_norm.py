from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from synthct.data.errors import UsageError
from synthct.tasks.regularization.features.jacobian_nuclear_norm import JacobianNuclearNorm


def linear_network(inner, outer):
    """Two 1 x 1 convolutions without bias: the Jacobian of a voxel is outer @ inner."""
    first, second = (nn.Conv2d(w.shape[1], w.shape[0], 1, bias=False) for w in (inner, outer))
    first.weight.data, second.weight.data = inner[..., None, None], outer[..., None, None]
    return nn.Sequential(first, second).double()


def penalty_of(small, number=0, seed=5):
    """Penalty of the step, or zero when there is none."""
    side, channels = 24, small.model[0].in_channels
    source = torch.zeros((1, channels, side, side), dtype=torch.float64)
    target = torch.zeros((1, 1, side, side), dtype=torch.float64)
    batch = replace(small.batch, source=source, target=target, mask=target + 1)
    evaluated = small.composition.evaluate(small.step(number, batch, seed=seed))
    return evaluated.terms.get("jacobian_nuclear_norm", torch.zeros(()))


def test_hand_value(problem):
    inner, outer = torch.tensor([[3.0, 0.0], [0.0, 4.0]]), torch.tensor([[1.0, 2.0]])
    small = problem("jacobian_nuclear_norm", model=linear_network(inner, outer), layer="0")
    expected = 0.5 * (9 + 16 + 1 + 4)  # half the squared Frobenius norms
    values = [penalty_of(small, seed=seed).item() for seed in range(8)]
    assert sum(values) / 8 == pytest.approx(expected, rel=0.05)


def test_the_noise_level_does_not_matter_for_a_linear_network(problem):
    inner, outer = torch.eye(2), torch.ones((1, 2))
    a, b = (
        penalty_of(
            problem("jacobian_nuclear_norm", model=linear_network(inner, outer), layer="0", noise=s)
        )
        for s in (0.01, 1.0)
    )
    torch.testing.assert_close(a, b)


def test_it_acts_at_every_kth_step_k_times_as_strongly(problem):
    model = linear_network(torch.eye(2), torch.ones((1, 2)))
    every, always = (
        problem("jacobian_nuclear_norm", model=model, layer="0", every=k) for k in (3, 1)
    )
    assert penalty_of(every, number=4) == 0
    torch.testing.assert_close(penalty_of(every, number=3), 3 * penalty_of(always, number=3))


def test_no_hook_stays_on_the_network(problem):
    small = problem("jacobian_nuclear_norm")
    small.objective()
    assert not any(module._forward_hooks for module in small.model.modules())


def test_a_layer_that_does_not_exist_is_reported(problem):
    (message,) = problem("jacobian_nuclear_norm", layer="9").member.regularizer.problems(
        linear_network(torch.eye(2), torch.eye(2))
    )
    assert "no layer is called '9'" in message


@pytest.mark.parametrize("options", [{"noise": 0.0}, {"every": 0}])
def test_impossible_options_are_refused(problem, options):
    with pytest.raises(UsageError, match="must be"):
        problem("jacobian_nuclear_norm", **options)


def singular_values_reached(problem, strength):
    """Of the network's Jacobian, fitted to a matrix with singular values 3, 1, 0.3."""
    torch.manual_seed(0)
    draw = lambda: 0.5 * torch.randn((3, 3))  # noqa: E731
    small = problem("jacobian_nuclear_norm", model=linear_network(draw(), draw()), layer="0")
    turn, _ = torch.linalg.qr(torch.randn((3, 3), dtype=torch.float64))
    wanted = turn @ torch.diag(torch.tensor([3.0, 1.0, 0.3], dtype=torch.float64))
    jacobian = lambda: small.model[1].weight[..., 0, 0] @ small.model[0].weight[..., 0, 0]  # noqa: E731
    for number in range(300):
        loss = 0.5 * (jacobian() - wanted).square().sum()
        loss = loss + strength * penalty_of(small, seed=number)
        small.model.zero_grad()
        loss.backward()
        with torch.no_grad():
            for parameter in small.model.parameters():
                parameter -= 0.1 * parameter.grad
    return torch.linalg.svdvals(jacobian().detach()).tolist()


def soft_thresholded(values):
    """The minimiser of half the squared distance plus 0.5 times the nuclear norm."""
    return values == pytest.approx([2.5, 0.5, 0.0], abs=0.12)


@pytest.mark.claim
def test_the_minimiser_is_that_of_the_nuclear_norm(problem):
    """The paper's theorem: both penalties have one minimiser; singular values soft-thresholded."""
    assert soft_thresholded(singular_values_reached(problem, 0.5))


def test_without_the_penalty_the_property_fails(problem, monkeypatch):
    monkeypatch.setattr(JacobianNuclearNorm, "penalty", lambda *_: None)
    assert not soft_thresholded(singular_values_reached(problem, 0.5))
