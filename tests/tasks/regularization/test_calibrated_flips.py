from __future__ import annotations

import pytest
import torch
from torch import nn

from synthct.data.errors import UsageError
from synthct.tasks.losses import LOSSES
from synthct.tasks.models.description import TargetScaling
from synthct.tasks.regularization import REGULARIZERS
from synthct.tasks.training.compose import Composition, Member, Term
from tests.tasks.regularization.conftest import Problem, small_batch, small_network


def flat(problem, **options):
    """A network that answers 0 everywhere, mirrored or not; targets are 0 too."""
    model = nn.Conv2d(2, 1, 1).double()
    small = problem("calibrated_flips", model=model, **options)
    with torch.no_grad():
        model.weight.zero_()
        model.bias.zero_()
    small.batch.target.zero_()
    return small


def gap(small):
    return small.member.regularizer.penalty(small.composition.evaluate(small.step()).step)


def test_errors_of_nothing_under_a_promised_spread_have_the_gap_computed_by_hand(problem):
    """Every error is at the median: s(20 (p - 1/2)) of the voxels are below each level."""
    # p = .1 and .9: s(-8) = .000335, gap .099665; p = .3 and .7: s(-4) = .017986, gap .282014
    by_hand = 2 * (0.099665**2 + 0.282014**2) / 5
    assert gap(flat(problem)).item() == pytest.approx(by_hand, rel=1e-5)


def test_errors_at_the_promised_quantiles_cost_little(problem):
    """Normal errors of one promised spread: 0 up to the smoothing of the step."""
    small = flat(problem, least=0.02)
    rng = torch.Generator().manual_seed(0)
    small.batch.target.copy_(
        0.02 * torch.randn(small.batch.target.shape, generator=rng, dtype=torch.float64)
    )
    honest = gap(small).item()
    small.batch.target.mul_(20)
    assert honest < 0.004
    assert gap(small).item() > 10 * honest


def test_what_lies_outside_the_body_does_not_count(problem):
    small = flat(problem)
    small.batch.target[..., 0] = 50.0
    small.batch.mask[..., 0] = 0
    assert gap(small).item() == pytest.approx(gap(flat(problem)).item())


def test_every_third_step_it_counts_three_times(problem):
    small = flat(problem, every=3)
    regularizer = small.member.regularizer
    acts, rests = (small.composition.evaluate(small.step(number)).step for number in (3, 4))
    assert regularizer.penalty(rests) is None
    assert regularizer.penalty(acts).item() == pytest.approx(3 * gap(flat(problem)).item())


@pytest.mark.parametrize(("option", "value"), [("least", 0.0), ("every", 0)])
def test_impossible_parameters_are_refused(problem, option, value):
    with pytest.raises(UsageError, match=option):
        problem("calibrated_flips", **{option: value})


def miscalibration(weight):
    """After a short training: mean gap of |error| / spread to a normal's, without smoothing."""
    regularizer = REGULARIZERS.build("calibrated_flips", {})
    terms = [Term("l1", 1.0, LOSSES.build("l1", {}))]
    whole = Composition(terms, [Member("calibrated_flips", weight, regularizer)], TargetScaling())
    small = Problem(small_network(), small_batch(count=4, side=12), whole)
    optimizer = torch.optim.Adam(small.model.parameters(), lr=0.02)
    for _ in range(120):
        optimizer.zero_grad()
        small.objective().backward()
        optimizer.step()
    with torch.no_grad():
        there = small.model(small.batch.source)
        back = small.model(small.batch.source.flip(-1)).flip(-1)
        spread = ((there - back).square() / 4 + regularizer.least**2).sqrt()
        reached = torch.special.ndtr((small.batch.target - (there + back) / 2) / spread)
    levels = torch.arange(0.1, 1, 0.2, dtype=torch.float64)
    return float(sum(((reached < p).double().mean() - p).abs() for p in levels) / len(levels))


@pytest.mark.claim
def test_the_spread_over_mirrorings_promises_what_is_observed():
    assert miscalibration(20.0) < 0.5 * miscalibration(0.0)
