from __future__ import annotations

import math

import pytest
import torch

from synthct.data.errors import UsageError
from synthct.tasks.losses import LOSSES
from synthct.tasks.models.contracts import Target
from synthct.tasks.models.description import TargetScaling


def lost(error, spacing_mm=(3.0, 1.0, 2.0), **options):
    t = torch.zeros_like(error)
    wanted = Target(t, torch.ones_like(t), spacing_mm, TargetScaling())
    return LOSSES.build("sobolev", options)(error, wanted).item()


def wave(cycles, axis, shape):
    at = torch.arange(shape[axis], dtype=torch.float64) / shape[axis]
    view = [1] * len(shape)
    view[axis] = shape[axis]
    return torch.cos(2 * math.pi * cycles * at).view(view).expand(shape)[None, None].clone()


def test_order_zero_is_the_mean_squared_error():
    error = torch.randn(2, 1, 6, 7, generator=torch.Generator().manual_seed(0)).double()
    assert lost(error, order=0.0) == pytest.approx(error.square().mean().item(), rel=1e-12)


@pytest.mark.parametrize("order", [-1.0, 0.5, 2.0])
@pytest.mark.parametrize(("axis", "step"), [(0, 3.0), (1, 1.0), (2, 2.0)])
def test_a_wave_costs_what_its_wavelength_in_mm_says(order, axis, step):
    shape = (8, 8, 8)
    value = lost(wave(2, axis, shape), order=order, length_mm=1.5)
    frequency = 2 * math.pi * 2 / (8 * step)  # rad/mm
    assert value == pytest.approx(0.5 * (1 + (1.5 * frequency) ** 2) ** order, rel=1e-9)


def test_in_a_plane_the_slice_distance_is_not_used():
    value = lost(wave(2, 1, (8, 8)), spacing_mm=(9.0, 1.0, 2.0), order=1.0)
    assert value == pytest.approx(0.5 * (1 + (2 * math.pi * 2 / 16) ** 2), rel=1e-9)


@pytest.mark.parametrize("sign", [1, -1])
def test_positive_orders_learn_edges_first_and_negative_ones_smooth_images_first(sign):
    """The paper's claim: the order decides which frequencies descent fits first."""
    truth = wave(1, 1, (16, 16)) + wave(7, 1, (16, 16))
    predicted = torch.zeros_like(truth, requires_grad=True)
    wanted = Target(truth, torch.ones_like(truth), (1.0, 1.0, 1.0), TargetScaling())
    LOSSES.build("sobolev", {"order": float(sign)})(predicted, wanted).backward()
    spectrum = torch.fft.fft(predicted.grad[0, 0, 0]).abs()
    assert (spectrum[7] > spectrum[1]) == (sign > 0)


@pytest.mark.parametrize("options", [{"order": 9.0}, {"length_mm": 0.0}])
def test_impossible_options_are_refused(options):
    with pytest.raises(UsageError, match="must be"):
        LOSSES.build("sobolev", options)
