from __future__ import annotations

import pytest
import torch

from synthct.data.errors import UsageError
from synthct.tasks.losses import LOSSES
from synthct.tasks.models.contracts import Target
from synthct.tasks.models.description import TargetScaling

SCALING = TargetScaling(low_hu=-1000.0, high_hu=1000.0)


def lost(hu, error_hu, weight=None, **options):
    t = torch.tensor(hu).view(1, 1, 1, -1) / 1000
    p = t + torch.tensor(error_hu).view(1, 1, 1, -1) / 1000
    weight = torch.ones_like(t) if weight is None else torch.tensor(weight).view(1, 1, 1, -1)
    loss = LOSSES.build("multiple_contrast", options)
    return loss(p, Target(t, weight, (3.0, 1.0, 1.0), SCALING)).item()


def test_hand_value():
    # Mean 30, soft tissue (0, 100) 15, bone (500) 90: (30 + 15 + 90) / 3, of 1000 HU each.
    value = lost([0.0, 100.0, 500.0, -900.0], [10.0, 20.0, 90.0, 0.0])
    assert value == pytest.approx((30 + 15 + 90) / 3 / 1000, rel=1e-5)


def test_weights_are_normalised_and_a_window_that_is_absent_adds_nothing():
    value = lost([0.0, 100.0], [10.0, 20.0], window_weights=(1.0, 2.0))
    assert value == pytest.approx((15 + 15 + 2 * 0) / 4 / 1000, rel=1e-5)


def test_the_window_is_set_by_the_reference_not_by_the_prediction():
    assert lost([0.0], [600.0]) == pytest.approx((600 + 600) / 3 / 1000, rel=1e-5)


def test_rare_bone_weighs_more_than_under_the_plain_mean():
    hu, error = [0.0] * 99 + [700.0], [0.0] * 99 + [100.0]
    assert lost(hu, error) > 30 * (1 / 1000)  # the plain mean is 1 HU


@pytest.mark.parametrize(
    "options",
    [{"windows_hu": ()}, {"windows_hu": ((3.0, 1.0),)}, {"window_weights": (1.0,)},
     {"window_weights": (1.0, -1.0)}],
)  # fmt: skip
def test_impossible_windows_are_refused(options):
    with pytest.raises(UsageError, match="must"):
        LOSSES.build("multiple_contrast", options)
