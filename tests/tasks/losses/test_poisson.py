from __future__ import annotations

import math

import pytest
import torch
from scipy import stats

from synthct.data.errors import UsageError
from synthct.tasks.losses import LOSSES
from synthct.tasks.models.contracts import Target
from synthct.tasks.models.description import TargetScaling

SCALING = TargetScaling(low_hu=-1000.0, high_hu=1000.0)


def lost(said_hu, true_hu, **options):
    p, t = (torch.tensor([[[[hu]]]], dtype=torch.float64) / 1000 for hu in (said_hu, true_hu))
    wanted = Target(t, torch.ones_like(t), (3.0, 1.0, 1.0), SCALING)
    return LOSSES.build("poisson", options)(p, wanted).item()


def test_hand_value():
    # 200 counts predicted, 100 true, background 1: 100 + 101 ln(101 / 201), a photon of 100.
    assert lost(1000.0, 0.0) == pytest.approx((100 + 101 * math.log(101 / 201)) / 100, rel=1e-9)


def test_it_is_the_log_likelihood_up_to_what_the_prediction_cannot_change():
    rate, seen = 151, 101  # with background
    gain = stats.poisson.logpmf(seen, seen) - stats.poisson.logpmf(seen, rate)
    assert lost(500.0, 0.0) == pytest.approx(gain / 100, rel=1e-9)


def test_the_same_error_costs_more_where_counts_are_few():
    assert lost(-700.0, -800.0) > 3 * lost(600.0, 500.0)


def test_below_zero_counts_it_goes_on_along_the_tangent():
    edge, step = lost(-1000.0, 0.0), lost(-1001.0, 0.0)
    slope = lost(-1000.0, 0.0) - lost(-1000.0 + 1e-3, 0.0)
    assert step - edge == pytest.approx(slope * 1e3, rel=1e-3)
    assert math.isfinite(lost(-3000.0, 0.0))


def test_nonnegative_counts_are_what_descent_ends_with():
    p = torch.full((1, 1, 1, 1), -1.8, dtype=torch.float64, requires_grad=True)
    t = torch.full_like(p, -0.9).detach()
    wanted = Target(t, torch.ones_like(t), (3.0, 1.0, 1.0), SCALING)
    optimizer = torch.optim.Adam([p], lr=0.05)
    for _ in range(150):
        optimizer.zero_grad()
        LOSSES.build("poisson", {})(p, wanted).backward()
        optimizer.step()
    assert p.item() == pytest.approx(-0.9, abs=0.02)


@pytest.mark.parametrize("options", [{"counts": 0.0}, {"background": 0.0}])
def test_impossible_options_are_refused(options):
    with pytest.raises(UsageError, match="must be positive"):
        LOSSES.build("poisson", options)
