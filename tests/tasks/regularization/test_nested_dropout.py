from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from synthct.data.errors import UsageError
from synthct.tasks.regularization.base import Regularizer
from synthct.tasks.regularization.features.nested_dropout import NestedDropout


def truncated(small, feature, strength=1.0):
    step = small.step().seen_by("nested_dropout", strength, {})
    return small.member.regularizer.hidden("2", feature, step)


def test_the_first_channels_are_kept_and_all_later_ones_dropped(problem):
    kept = truncated(problem("nested_dropout"), torch.ones((200, 6, 2, 2)))[:, :, 0, 0]
    assert (kept[:, 0] == 1).all()
    assert (kept.diff(dim=1) <= 0).all()  # once dropped, dropped
    assert set(kept.sum(dim=1).tolist()) == {1, 2, 3, 4, 5, 6}


def test_how_many_are_kept_follows_the_formula(problem):
    kept = truncated(problem("nested_dropout", spread=0.5), torch.ones((20_000, 2, 1, 1)))
    one, two = math.exp(-1), math.exp(-4)  # k / (0.5 * 2) = 1 and 2
    assert (kept[:, 1] == 0).double().mean().item() == pytest.approx(one / (one + two), abs=0.01)


def test_the_strength_is_the_probability_of_a_truncation(problem):
    kept = truncated(problem("nested_dropout"), torch.ones((4000, 50, 1, 1)), strength=0.3)
    whole = kept.flatten(1).all(dim=1).double().mean().item()
    assert whole == pytest.approx(0.7, abs=0.03)


def test_a_layer_that_does_not_exist_is_reported(problem):
    small = problem("nested_dropout", layer="tail")
    (message,) = small.member.regularizer.problems(small.model)
    assert "no layer is called 'tail'" in message


def test_an_impossible_spread_is_refused(problem):
    with pytest.raises(UsageError, match="must be positive"):
        problem("nested_dropout", spread=0.0)


def test_a_release_answers_with_the_channels_that_help_other_patients(problem):
    """Later channels that learned noise are left out, those that carry signal are not."""
    model = nn.Sequential(nn.Conv2d(2, 8, 1, bias=False), nn.ReLU(), nn.Conv2d(8, 1, 1, bias=False))
    model = model.double()
    with torch.no_grad():
        model[0].weight.zero_()
        model[0].weight[0, 0], model[0].weight[1, 0] = 1.0, -1.0  # the two sides of the signal
        model[0].weight[2:, 1] = 1.0  # noise
        model[2].weight.fill_(0.5)
        model[2].weight[0, 0], model[2].weight[0, 1] = 1.0, -1.0
    small = problem("nested_dropout", model=model)
    batch = replace(small.batch, target=small.batch.source[:, :1].clone())
    step = replace(small.step(), validation=lambda: batch)
    small.composition.begin(step)
    released = small.composition.kept(model)
    assert torch.equal(released[2].weight[0, :, 0, 0].nonzero()[:, 0], torch.tensor([0, 1]))
    torch.testing.assert_close(released(batch.source), batch.target)
    assert (model[2].weight != 0).all()  # training goes on with all of them


def part_explained_by_the_first_quarter(problem, weight):
    """Of the variance a bottleneck explains, how much is left with its first quarter alone."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(6, 8, 1), nn.Identity(), nn.Conv2d(8, 6, 1)).double()
    small = problem("nested_dropout", weight=weight, model=model, layer="1")
    rng = torch.Generator().manual_seed(3)
    scales = torch.tensor([3.0, 1.5, 0.8, 0.5, 0.3, 0.2], dtype=torch.float64)
    source = scales.view(1, 6, 1, 1) * torch.randn((64, 6, 1, 1), generator=rng).double()
    batch = replace(small.batch, source=source, target=source, mask=torch.ones_like(source))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for number in range(300):
        evaluated = small.composition.evaluate(small.step(number, batch, seed=number))
        optimizer.zero_grad()
        (evaluated.step.prediction - source).square().mean().backward()
        optimizer.step()
    with torch.no_grad():
        feature = model[0](source)
        feature[:, 2:] = 0
        left = (model[2](feature) - source).square().mean()
    return 1 - (left / source.square().mean()).item()


def is_ordered(problem):
    return part_explained_by_the_first_quarter(problem, 1.0) > 0.85


@pytest.mark.claim
def test_features_come_out_ordered_by_importance(problem):
    """The paper's claim: the first features carry most of what matters."""
    assert is_ordered(problem)


def test_without_the_truncation_the_property_fails(problem, monkeypatch):
    monkeypatch.setattr(NestedDropout, "hidden", Regularizer.hidden)
    assert not is_ordered(problem)
