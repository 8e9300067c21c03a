"""Properties that papers claim for norms and activations, on plain networks."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from synthct.tasks.models.networks.blocks import activation_layer, conv_norm_act, norm_layer


def left(model, learning_rate, steps=40):
    """Training error in the end, as a share of the target's variance; infinite if it diverged."""
    rng = torch.Generator().manual_seed(1)
    x = torch.randn((16, 2, 8, 8), generator=rng)
    target = torch.sin(2 * x[:, :1])
    optimizer = torch.optim.SGD(model.parameters(), lr=learning_rate)
    for _ in range(steps):
        loss = (model(x) - target).square().mean()
        if not torch.isfinite(loss):
            return float("inf")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return (loss / target.var()).item()


def plain_network(norm, *, depth=8):
    """Blocks without shortcuts; without ``norm`` their convolutions and activations alone."""
    torch.manual_seed(0)
    blocks, inputs = [], 2
    for _ in range(depth):
        block = conv_norm_act(inputs, 8, "batch", "relu")
        if norm is None:
            block[1] = nn.Identity()
        blocks.append(block)
        inputs = 8
    return nn.Sequential(*blocks, nn.Conv2d(8, 1, 1))


def test_batch_norm_learns_at_rates_that_a_plain_network_does_not_stand():
    """Higher learning rates and fewer steps: Ioffe & Szegedy, arXiv:1502.03167."""
    rates = (0.03, 0.1, 0.3, 1.0)
    plain, normed = ([left(plain_network(n), rate) for rate in rates] for n in (None, "batch"))
    assert min(plain) > 0.8
    assert min(normed) < 0.6


@pytest.mark.parametrize("kind", ["relu", "mish"])
def test_a_unit_whose_input_is_negative_is_dead_with_relu_and_learns_with_mish(kind):
    """Small negative inputs keep a gradient: Misra, arXiv:1908.08681."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 16, 1), activation_layer(kind), nn.Conv2d(16, 1, 1))
    with torch.no_grad():
        model[0].weight *= 0.1
        model[0].bias.fill_(-1.5)
    model[2].bias.requires_grad_(False)
    error = left(model, 0.3, steps=200)
    assert (error < 0.9) == (kind == "mish")


def test_mish_is_smooth_where_relu_has_a_kink_and_bounded_below():
    x = torch.linspace(-6, 6, 2401, dtype=torch.float64)
    y = activation_layer("mish")(x)
    assert y.min().item() == pytest.approx(-0.3088, abs=1e-4)
    assert y.diff().diff().abs().max() < 2 * 0.005**2
    assert activation_layer("relu")(x).diff().diff().abs().max() > 0.004


def test_norms_have_a_scale_and_a_shift_for_each_channel():
    for kind in ("batch", "instance", "group"):
        assert sum(p.numel() for p in norm_layer(kind, 24).parameters()) == 48
