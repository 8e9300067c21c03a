from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from synthct.data.errors import UsageError
from synthct.tasks.regularization.base import Regularizer
from synthct.tasks.regularization.features.cauchy_schwarz_bottleneck import (
    CauchySchwarzBottleneck,
    divergence,
    gram,
    information,
)


def pair(off_diagonal):
    return torch.tensor([[1.0, off_diagonal], [off_diagonal, 1.0]], dtype=torch.float64)


def test_hand_value_of_the_information():
    a, b = 0.25, 0.5
    expected = math.log(2 * (1 + a * b) / ((1 + a) * (1 + b)))
    assert information(pair(a), pair(b)).item() == pytest.approx(expected)


def test_hand_value_of_the_divergence():
    k, own, other, between = pair(0.25), pair(0.5), pair(0.1), pair(0.2)
    means = [(1 + 0.25 * m) for m in (0.5, 0.1, 0.2)]  # the same for both samples
    expected = math.log(means[0] * means[1] / means[2] ** 2)
    assert divergence(k, own, other, between).item() == pytest.approx(expected, abs=1e-6)


def test_a_prediction_that_is_the_target_has_no_divergence():
    y = torch.randn((20, 1), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    same = gram(y, y, torch.tensor(0.5))
    assert divergence(same, same, same, same).item() == pytest.approx(0, abs=1e-9)


def test_features_that_do_not_depend_on_the_source_hold_no_information():
    k = pair(0.3)
    assert information(k, torch.ones_like(k)).item() == pytest.approx(0, abs=1e-12)
    assert information(k, k).item() > 0


def test_voxels_outside_the_body_do_not_count(problem):
    small = problem("cauchy_schwarz_bottleneck", samples=36)
    source, mask = small.batch.source.clone(), small.batch.mask.clone()
    mask[:, :, :2] = 0
    value = lambda source: small.member.regularizer.penalty(  # noqa: E731
        replace(
            small.step(batch=replace(small.batch, source=source, mask=mask)),
            prediction=small.batch.target + 0.1,
            features={"2": small.batch.source},
        )
    )
    before = value(source)
    source = source.clone()
    source[:, :, :2] = 9.0
    assert before > 0
    assert value(source) == before


def test_a_batch_without_body_has_no_penalty(problem):
    small = problem("cauchy_schwarz_bottleneck")
    empty = replace(small.batch, mask=torch.zeros_like(small.batch.mask))
    terms = small.composition.evaluate(small.step(batch=empty)).terms
    assert terms["cauchy_schwarz_bottleneck"] == 0


@pytest.mark.parametrize("options", [{"compression": -1.0}, {"samples": 1}, {"width": 0.0}])
def test_impossible_options_are_refused(problem, options):
    with pytest.raises(UsageError, match="must"):
        problem("cauchy_schwarz_bottleneck", **options)


def trained(problem, weight):
    """How well three nuisance channels can be predicted from the features, and the error."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(4, 8, 1), nn.Tanh(), nn.Conv2d(8, 1, 1)).double()
    small = problem("cauchy_schwarz_bottleneck", weight=weight, model=model, compression=2.0)
    rng = torch.Generator().manual_seed(1)
    source = torch.randn((2, 4, 8, 8), generator=rng, dtype=torch.float64)
    target = 0.5 * source[:, :1]
    batch = replace(small.batch, source=source, target=target, mask=torch.ones_like(target))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for number in range(150):
        optimizer.zero_grad()
        small.objective(small.step(number, batch, seed=number)).backward()
        optimizer.step()
    rows = lambda values: values.flatten(2).transpose(1, 2).flatten(0, 1)  # noqa: E731
    width = lambda values: 0.25 * torch.cdist(values, values).square().mean()  # noqa: E731
    with torch.no_grad():
        nuisance, feature = rows(source[:, 1:]), rows(model[:2](source))
        grams = [gram(v, v, width(v)) for v in (nuisance, feature)]
        return information(*grams).item(), (model(source) - target).abs().mean().item()


def forgets_the_nuisance(problem):
    known, error = trained(problem, 0.3)
    plainly_known, _ = trained(problem, 0.0)
    return known < 0.6 * plainly_known and error < 0.1


@pytest.mark.claim
def test_what_does_not_predict_is_forgotten(problem):
    """The paper's claim: a minimal sufficient representation."""
    assert forgets_the_nuisance(problem)


def test_without_the_penalty_the_property_fails(problem, monkeypatch):
    monkeypatch.setattr(CauchySchwarzBottleneck, "penalty", Regularizer.penalty)
    assert not forgets_the_nuisance(problem)
