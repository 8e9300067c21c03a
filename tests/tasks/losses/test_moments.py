from __future__ import annotations

import math

import pytest
import torch

from synthct.data.errors import UsageError
from synthct.tasks.losses import LOSSES
from synthct.tasks.models.contracts import Target
from synthct.tasks.models.description import TargetScaling


def lost(prediction, value, name="moments", **options):
    wanted = Target(value, torch.ones_like(value), (3.0, 1.0, 2.0), TargetScaling())
    return LOSSES.build(name, options)(prediction, wanted)


def test_hand_value_of_one_wrong_voxel():
    """Moments around each voxel of a unit error are the window's taps and their powers."""
    error = torch.zeros(1, 1, 1, 33, dtype=torch.float64)
    error[0, 0, 0, 16] = 1.0
    taps = {d: math.exp(-((2 * d / 4) ** 2) / 2) for d in range(-4, 5)}  # 2 mm voxels, 4 mm window
    whole = sum(taps.values())
    across = 1 / sum(math.exp(-((d / 4) ** 2) / 2) for d in range(-8, 9))  # 1 mm voxels along Y
    g = {d: tap / whole * across for d, tap in taps.items()}
    expected = sum(v**2 * (1 + 0.5 * (d / 2) ** 2 + 0.25 * (d / 2) ** 4) for d, v in g.items())
    value = lost(error, torch.zeros_like(error), window_mm=4.0, first=0.5, second=0.25)
    assert value.item() == pytest.approx(expected / 33)


def test_a_displaced_bone_costs_less_than_a_lost_one_and_under_l1_more():
    truth = torch.zeros(1, 1, 24, 24, dtype=torch.float64)
    truth[..., 12] = 1.0
    displaced, none = truth.roll(1, dims=-1), torch.zeros_like(truth)
    assert lost(displaced, truth, name="l1") > lost(none, truth, name="l1")
    assert lost(displaced, truth) < 0.5 * lost(none, truth)


def test_slices_that_are_further_apart_weigh_less():
    error = torch.zeros(1, 1, 9, 9, 9, dtype=torch.float64)
    error[0, 0, 4, 4, 4] = 1.0
    value = torch.zeros_like(error)
    near = Target(value, torch.ones_like(value), (1.0, 1.0, 1.0), TargetScaling())
    far = Target(value, torch.ones_like(value), (6.0, 1.0, 1.0), TargetScaling())
    loss = LOSSES.build("moments", {"window_mm": 2.0})
    assert loss(error, near) < loss(error, far)


def mass(losses):
    """Mass of a thin bone as predicted, where the CT shows it at one of three places."""
    places = torch.zeros(3, 1, 16, 16, dtype=torch.float64)
    for case in range(3):
        places[case, 0, :, 7 + case] = 1.0
    row = torch.zeros(16, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([row], lr=0.02)
    for _ in range(200):
        optimizer.zero_grad()
        predicted = row.expand(3, 1, 16, 16)
        sum(weight * lost(predicted, places, name=n) for n, weight in losses.items()).backward()
        optimizer.step()
    return row.sum().item()


@pytest.mark.claim
def test_a_thin_bone_whose_place_is_uncertain_keeps_its_mass():
    """The paper's claim: flux is kept, which voxel-wise losses do not guarantee."""
    assert abs(mass({"l1": 1.0})) < 0.1
    assert mass({"l1": 1.0, "moments": 30.0}) == pytest.approx(1.0, abs=0.15)


@pytest.mark.parametrize("options", [{"window_mm": 0.0}, {"first": -1.0}, {"second": -1.0}])
def test_impossible_options_are_refused(options):
    with pytest.raises(UsageError, match="must"):
        LOSSES.build("moments", options)
