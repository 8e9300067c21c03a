from __future__ import annotations

import pytest
import torch

from synthct.data.errors import UsageError
from synthct.tasks.losses import LOSSES
from synthct.tasks.models.contracts import Target
from synthct.tasks.models.description import TargetScaling


def lost(error, **options):
    t = torch.zeros_like(error)
    scaling = TargetScaling(low_hu=-1000.0, high_hu=1000.0)
    wanted = Target(t, torch.ones_like(t), (3.0, 1.0, 1.0), scaling)
    return LOSSES.build("focal_l1", options)(error, wanted)


def test_hand_value():
    """Errors of 100 and 400 HU at a scale of 200 HU: 0.2 / 1.5 (0.5^1.5 + 2^1.5) / 2."""
    error = torch.tensor([[0.1, -0.4]], dtype=torch.float64)
    expected = 0.2 / 1.5 * (0.5**1.5 + 2**1.5) / 2
    assert lost(error, focus=0.5, scale_hu=200.0).item() == pytest.approx(expected)


def test_without_focus_it_is_l1_and_with_focus_one_half_the_square():
    error = torch.randn(2, 1, 6, 7, generator=torch.Generator().manual_seed(0)).double()
    assert lost(error, focus=0.0).item() == pytest.approx(error.abs().mean().item())
    assert lost(error, focus=1.0).item() == pytest.approx(error.square().mean().item() / 0.4)


def test_an_error_of_the_scale_pulls_as_hard_as_under_l1():
    error = torch.tensor([[0.2, 0.05]], dtype=torch.float64, requires_grad=True)
    lost(error, focus=2.0).backward()
    assert error.grad.tolist() == [[pytest.approx(0.5), pytest.approx(0.5 / 16)]]


def error_at_the_edge(focus):
    """Error of the voxels at an edge; sharpening costs each of many flat voxels a little noise."""
    truth = torch.where(torch.arange(64) < 32, -0.5, 0.5).double()
    blurred = torch.nn.functional.avg_pool1d(truth[None], 3, stride=1, padding=1)[0]
    blurred[[0, -1]] = truth[[0, -1]]
    noise = 0.02 * torch.randn(64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    sharper = truth - blurred + noise
    amount = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([amount], lr=0.02)
    for _ in range(200):
        optimizer.zero_grad()
        lost((blurred + amount * sharper - truth)[None], focus=focus).backward()
        optimizer.step()
    return (blurred + amount * sharper - truth)[31:33].abs().mean().item()


@pytest.mark.claim
def test_voxels_at_an_edge_are_no_longer_outvoted_by_flat_ones():
    """The paper's claim: hard voxels at boundaries are learned."""
    assert error_at_the_edge(0.0) > 0.3
    assert error_at_the_edge(1.0) < 0.1


@pytest.mark.parametrize("options", [{"focus": -0.1}, {"scale_hu": 0.0}])
def test_impossible_options_are_refused(options):
    with pytest.raises(UsageError, match="must"):
        LOSSES.build("focal_l1", options)
