from __future__ import annotations

import pytest
import torch
from torch import nn

from synthct.data.errors import UsageError


def value(problem, rows, **options):
    layer = nn.Linear(len(rows[0]), len(rows), bias=False).double()
    layer.weight.data = torch.tensor(rows, dtype=torch.float64)
    small = problem("group_orthogonality", model=nn.Sequential(layer), **options)
    return small.member.regularizer.penalty(small.step()).item()


def test_hand_value_of_two_groups(problem):
    rows = [[1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 1.0]]
    # First group: inner product 1, twice. Second: a squared length of 4 instead of 1.
    assert value(problem, rows, groups=2, least=2) == pytest.approx(1 + 1 + 9)


def test_spread_groups_take_one_filter_of_each(problem):
    rows = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    assert value(problem, rows, groups=2, least=2) == 0.0
    # Sets are filters 0, 2 and 1, 3.
    assert value(problem, rows, groups=2, least=2, members="spread") == pytest.approx(2.0)


def test_more_filters_than_weights_can_still_reach_zero(problem):
    half = 0.5**0.5
    assert value(problem, [[half], [half]], groups=1) == pytest.approx(0.0, abs=1e-12)


def test_a_number_of_filters_that_does_not_divide_gets_fewer_groups(problem):
    rows = torch.eye(6).tolist()
    rows[5] = rows[0]  # in one group of six, or the second of three: never with filter 0
    assert value(problem, rows, groups=4, least=2) == 0.0  # three groups of two
    assert value(problem, rows, groups=4, least=4) == pytest.approx(2.0)  # one group


def test_acting_every_third_step_is_three_times_as_strong(problem):
    rows = [[2.0, 0.0], [0.0, 1.0]]
    assert value(problem, rows, every=3) == pytest.approx(3 * value(problem, rows))


def test_a_layer_that_does_not_exist_is_reported(problem):
    small = problem("group_orthogonality", layers=("4", "2"))
    assert "no layer is called '4'" in small.member.regularizer.problems(small.model)[0]


@pytest.mark.parametrize("options", [{"groups": 0}, {"least": 0}, {"members": "all"}])
def test_impossible_options_are_refused(problem, options):
    with pytest.raises(UsageError, match=r"(must|should) be"):
        problem("group_orthogonality", **options)


def check_groups_are_orthonormal(problem, descend):
    torch.manual_seed(3)
    model = nn.Sequential(nn.Conv2d(2, 8, 3, padding=1), nn.Tanh(), nn.Conv2d(8, 1, 1)).double()
    small = problem("group_orthogonality", weight=10.0, model=model, groups=2)
    descend(small, steps=150, learning_rate=0.005)
    rows = model[0].weight.detach().flatten(1)
    gram = rows @ rows.T - torch.eye(8, dtype=rows.dtype)
    within = torch.cat([gram[:4, :4], gram[4:, 4:]]).abs().max().item()
    assert within < 0.05
    assert gram[:4, 4:].abs().max().item() > 2 * within


@pytest.mark.claim
def test_filters_of_a_group_become_orthonormal(problem, descend, fails_without):
    """The paper's claim: less redundancy inside groups, while groups stay free of each other."""
    check_groups_are_orthonormal(problem, descend)
    fails_without("group_orthogonality", check_groups_are_orthonormal, problem, descend)
