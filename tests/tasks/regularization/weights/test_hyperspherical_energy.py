from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from synthct.data.errors import UsageError


def planar(*degrees, lengths=None):
    """A 1 x 1 convolution of two inputs: each filter a direction in the plane."""
    layer = nn.Conv2d(2, len(degrees), 1, bias=False).double()
    angles = torch.tensor(degrees, dtype=torch.float64) * math.pi / 180
    rows = torch.stack([angles.cos(), angles.sin()], dim=1)
    layer.weight.data = (rows * torch.tensor(lengths or [1.0])[:, None])[:, :, None, None]
    return nn.Sequential(layer)


def energy(problem, model, **options):
    small = problem("hyperspherical_energy", model=model, **options)
    return small.member.regularizer.penalty(small.step()).item()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"power": 2}, 1 / 2),  # filters at right angles: squared chord 2
        ({"power": 1}, 2**-0.5),
        ({"power": 0}, -0.5 * math.log(2)),
        ({"power": 2, "distance": "angle"}, 4.0),  # angle over pi: 1/2
        ({"power": 1, "distance": "angle"}, 2.0),
        ({"power": 0, "distance": "angle"}, math.log(2)),
    ],
    ids=str,
)
def test_hand_value_of_a_right_angle(problem, options, expected):
    assert energy(problem, planar(0, 90), **options) == pytest.approx(expected, rel=1e-3)


def test_lengths_do_not_matter(problem):
    unit, long = planar(10, 80), planar(10, 80, lengths=[5.0, 0.1])
    assert energy(problem, long) == pytest.approx(energy(problem, unit))


def test_half_space_tells_filters_that_differ_by_their_sign(problem):
    opposite = planar(0, 180)
    assert energy(problem, opposite) == pytest.approx(1 / 4, rel=1e-3)
    assert energy(problem, opposite, half_space=True) > 100


def test_equal_filters_have_finite_energy_and_slope(problem):
    small = problem("hyperspherical_energy", model=planar(30, 30, 200))
    value = small.member.regularizer.penalty(small.step())
    value.backward()
    assert math.isfinite(value.item())
    assert torch.isfinite(small.model[0].weight.grad).all()


def test_filters_without_direction_are_left_out(problem):
    model = planar(0, 90, 45, lengths=[1.0, 1.0, 0.0])
    small = problem("hyperspherical_energy", model=model)
    value = small.member.regularizer.penalty(small.step())
    value.backward()
    assert value.item() == pytest.approx(0.5, rel=1e-3)
    assert torch.isfinite(model[0].weight.grad).all()


def test_a_network_of_single_filters_has_no_penalty(problem):
    small = problem("hyperspherical_energy", model=nn.Sequential(nn.Conv2d(2, 1, 1).double()))
    assert small.member.regularizer.penalty(small.step()) is None


def test_acting_every_third_step_is_three_times_as_strong(problem):
    model = planar(0, 60)
    assert energy(problem, model, every=3) == pytest.approx(3 * energy(problem, model))


@pytest.mark.parametrize("options", [{"power": 3}, {"distance": "mahalanobis"}, {"every": 0}])
def test_impossible_options_are_refused(problem, options):
    with pytest.raises(UsageError, match=r"(must|should) be"):
        problem("hyperspherical_energy", **options)


def check_thomson(problem, descend):
    """Three charges on a circle end 120 degrees apart (squared chord 3)."""
    model = planar(0, 60, 200)
    small = problem("hyperspherical_energy", model=model)
    descend(small, steps=300, learning_rate=0.1, data=False)
    rows = nn.functional.normalize(model[0].weight.detach().flatten(1), dim=1)
    cosines = (rows @ rows.T)[~torch.eye(3, dtype=torch.bool)]
    assert cosines.tolist() == pytest.approx([-0.5] * 6, abs=0.01)


@pytest.mark.claim
def test_filters_spread_as_electrons_on_a_sphere(problem, descend, fails_without):
    """The paper's claim, on Thomson's problem, whose answer is known."""
    check_thomson(problem, descend)
    fails_without("hyperspherical_energy", check_thomson, problem, descend)


def test_four_filters_in_space_end_as_a_tetrahedron(problem, descend):
    torch.manual_seed(4)
    model = nn.Sequential(nn.Conv2d(2, 4, (1, 3), groups=2, bias=False).double())
    small = problem("hyperspherical_energy", model=model)
    descend(small, steps=300, learning_rate=0.1, data=False)
    value = small.member.regularizer.penalty(small.step()).item()
    assert value == pytest.approx(3 / 8, rel=1e-3)  # squared chord 8/3
