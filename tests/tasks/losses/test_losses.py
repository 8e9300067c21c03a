from __future__ import annotations

import numpy as np
import pytest
import torch

from synthct.data.errors import UsageError
from synthct.tasks.losses import LOSSES
from synthct.tasks.models.contracts import Target
from synthct.tasks.models.description import TargetScaling
from synthct.tasks.transport.target_shift import target_weights


def target(value, weight):
    return Target(value, weight, (3.0, 1.0, 1.0), TargetScaling(low_hu=-1000.0, high_hu=1000.0))


@pytest.fixture(params=LOSSES.names())
def loss(request):
    return LOSSES.build(request.param, {})


@pytest.fixture(params=[(2, 1, 8, 8), (2, 1, 3, 6, 5)], ids=["plane", "volume"])
def pair(request):
    rng = torch.Generator().manual_seed(0)
    return [torch.rand(request.param, generator=rng, dtype=torch.float64) for _ in range(3)]


def test_is_zero_when_the_prediction_is_right(loss, pair):
    value, _, weight = pair
    assert loss(value, target(value, weight)) == 0


def test_is_positive_and_finite_when_it_is_wrong(loss, pair):
    prediction, value, weight = pair
    assert 0 < loss(prediction, target(value, weight)) < float("inf")


def test_never_looks_outside_the_body(loss, pair):
    prediction, value, weight = pair
    weight[..., 4:] = 0
    elsewhere = prediction.clone()
    elsewhere[..., 4:] += 100
    wanted = target(value, weight)
    torch.testing.assert_close(loss(prediction, wanted), loss(elsewhere, wanted))


def test_the_same_batch_twice_costs_the_same(loss, pair):
    prediction, value, weight = pair
    twice = [torch.cat([x, x]) for x in pair]
    torch.testing.assert_close(
        loss(prediction, target(value, weight)), loss(twice[0], target(*twice[1:]))
    )


def test_a_batch_without_body_costs_nothing(loss, pair):
    prediction, value, weight = pair
    assert loss(prediction, target(value, torch.zeros_like(weight))) == 0


def test_its_gradient_is_its_derivative(loss, pair):
    prediction, value, weight = pair
    wanted = target(value, weight)
    assert torch.autograd.gradcheck(lambda p: loss(p, wanted), prediction.requires_grad_())


def test_l1_times_half_the_range_is_the_mean_absolute_error_in_hu():
    prediction, value = torch.tensor([[0.1, -0.3, 0.9]]), torch.tensor([[0.0, 0.0, 0.0]])
    weight = torch.tensor([[1.0, 1.0, 0.0]])
    # Two voxels count: 0.1 and 0.3 units of 1000 HU each.
    error_hu = LOSSES.build("l1", {})(prediction, target(value, weight)) * 1000
    assert error_hu.item() == pytest.approx(200, rel=1e-6)


def test_huber_is_quadratic_below_delta_and_absolute_above():
    prediction, value = torch.tensor([[0.05]]), torch.tensor([[0.0]])
    one = torch.ones(1, 1)
    huber = LOSSES.build("huber", {"delta_hu": 100.0})  # 0.1 units
    assert huber(prediction, target(value, one)).item() == pytest.approx(0.05**2 / 0.2)
    assert huber(10 * prediction, target(value, one)).item() == pytest.approx(0.5 - 0.05)


def test_huber_needs_a_positive_delta():
    with pytest.raises(Exception, match="delta_hu must be positive"):
        LOSSES.build("huber", {"delta_hu": 0.0})


def test_a_band_of_hu_does_not_count_with_its_weight():
    """Scaling -1000 to 1000 HU: targets of -500, 0 and 500 HU, each off by 0.1."""
    bands = LOSSES.build("l1_by_hu", {"edges_hu": [-100.0, 300.0], "weights": [0.0, 1.0, 4.0]})
    value = torch.tensor([-0.5, 0.0, 0.5], dtype=torch.float64).view(1, 1, 1, 3)
    wanted = target(value, torch.ones_like(value))
    assert bands(value + 0.1, wanted) == pytest.approx(0.1 * (0 + 1 + 4) / 3)
    plain = LOSSES.build("l1_by_hu", {})
    assert plain(value + 0.1, wanted) == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"edges_hu": [5.0, 5.0], "weights": [1.0, 1.0, 1.0]}, "must rise"),
        ({"edges_hu": [5.0], "weights": [1.0]}, "weights must be 2 numbers"),
        ({"edges_hu": [5.0], "weights": [-1.0, 1.0]}, "not be negative"),
        ({"edges_hu": [5.0], "weights": [0.0, 0.0]}, "nor all 0"),
    ],
)
def test_bands_that_cannot_be_are_taken(options, told):
    with pytest.raises(UsageError, match=told):
        LOSSES.build("l1_by_hu", options)


def test_the_weights_of_another_site_are_no_options_of_the_loss():
    random = np.random.default_rng(0)
    hu, new = random.normal(0, 100, 5000), random.normal(60, 100, 5000)
    found = target_weights(hu / 100, hu, new / 100, np.linspace(-400, 400, 9))
    loss = LOSSES.build("l1_by_hu", found.as_options())
    value = torch.tensor([-0.15, 0.15], dtype=torch.float64).view(1, 1, 1, 2)
    low, high = (
        loss(value + 0.1 * place, target(value, torch.ones_like(value)))
        for place in torch.eye(2, dtype=torch.float64)
    )
    assert high / low == pytest.approx(found(np.array([150.0]))[0] / found(np.array([-150.0]))[0],
                                       rel=1e-3)  # fmt: skip
