from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from synthct.data.errors import UsageError
from synthct.tasks.regularization.base import Regularizer
from synthct.tasks.regularization.features.early_late_dropout import EarlyLateDropout


def thinned(small, feature, strength=0.5, layer="2", seed=5):
    step = small.step(seed=seed).seen_by("early_late_dropout", strength, {})
    return small.member.regularizer.hidden(layer, feature, step)


def test_what_is_kept_is_scaled_so_that_the_mean_stays(problem):
    small = problem("early_late_dropout", unit="element")
    feature = torch.full((4, 8, 20, 20), 3.0)
    out = thinned(small, feature, strength=0.25)
    assert sorted(out.unique().tolist()) == [0.0, 4.0]  # 3 / (1 - 0.25)
    assert out.mean().item() == pytest.approx(3.0, rel=0.03)


def test_channels_are_dropped_whole(problem):
    out = thinned(problem("early_late_dropout"), torch.ones((6, 40, 3, 3)))
    dropped = (out == 0).flatten(2)
    assert torch.equal(dropped.any(dim=2), dropped.all(dim=2))
    assert 0.3 < dropped.double().mean().item() < 0.7


def test_layers_of_one_width_lose_different_channels(problem):
    small = problem("early_late_dropout", layers=("0", "2"))
    feature = torch.ones((2, 64, 1, 1))
    assert not torch.equal(thinned(small, feature, layer="0"), thinned(small, feature, layer="2"))


@pytest.mark.parametrize(
    ("phase", "progress", "factor"),
    [("early", 0.0, 1.0), ("early", 0.1, 0.5), ("early", 0.2, 0.0), ("early", 0.9, 0.0),
     ("late", 0.0, 0.0), ("late", 0.19, 0.0), ("late", 0.2, 1.0), ("late", 1.0, 1.0)],
)  # fmt: skip
def test_the_rate_follows_the_phase(problem, phase, progress, factor):
    regularizer = problem("early_late_dropout", phase=phase).member.regularizer
    assert regularizer.schedule(progress) == pytest.approx(factor)


def test_the_default_is_the_activation_after_the_widest_convolution(problem):
    small = problem("early_late_dropout")
    assert small.member.regularizer.hides(small.model) == ["2"]


def test_a_network_without_that_layer_or_the_named_one_is_reported(problem):
    bare = nn.Sequential(nn.Conv2d(2, 1, 1))
    assert problem("early_late_dropout").member.regularizer.problems(bare) == [
        "found no activation after a convolution in this network; name the layers it acts on"
    ]
    (message,) = problem("early_late_dropout", layers=("7",)).member.regularizer.problems(bare)
    assert "no layer is called '7'" in message


@pytest.mark.parametrize("options", [{"phase": "now"}, {"boundary": 0.0}, {"unit": "voxel"}])
def test_impossible_options_are_refused(problem, options):
    with pytest.raises(UsageError, match=r"(must|should) be"):
        problem("early_late_dropout", **options)


def trained(problem, weight, **options):
    """Training error and weight energy of a wide readout on few noisy samples."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Identity(), nn.Conv2d(40, 1, 1, bias=False)).double()
    nn.init.zeros_(model[1].weight)
    small = problem("early_late_dropout", weight=weight, model=model, layers=("0",), **options)
    rng = torch.Generator().manual_seed(4)
    draw = lambda *shape: torch.randn(shape, generator=rng, dtype=torch.float64)  # noqa: E731
    source, unseen = draw(30, 40, 1, 1), draw(500, 40, 1, 1)
    target = source[:, :1] + 0.5 * draw(30, 1, 1, 1)
    batch = replace(small.batch, source=source, target=target, mask=torch.ones_like(target))
    for number in range(300):
        step = replace(small.step(number, batch, seed=number), total=300)
        evaluated = small.composition.evaluate(step)
        loss = (evaluated.step.prediction - target).square().mean()
        model.zero_grad()
        loss.backward()
        with torch.no_grad():
            model[1].weight -= 0.1 * model[1].weight.grad
    with torch.no_grad():
        seen = (model(source) - target).square().mean()
        new = (model(unseen) - unseen[:, :1]).square().mean()
    return seen.item(), new.item()


def late_dropout_generalises(problem):
    _, plain = trained(problem, 0.0)
    _, late = trained(problem, 0.4, phase="late", boundary=0.3)
    return late < 0.7 * plain


@pytest.mark.claim
def test_late_dropout_helps_a_model_that_overfits(problem):
    """The paper's claim for overfitting models: learn first, regularize afterwards."""
    assert late_dropout_generalises(problem)


def test_early_dropout_does_not_keep_the_model_from_fitting(problem):
    """The paper's claim for underfitting models, in part: the training loss ends low again."""
    early, _ = trained(problem, 0.4, phase="early", boundary=0.3)
    throughout, _ = trained(problem, 0.4, phase="late", boundary=1e-9)
    assert early < 0.2 * throughout


def test_without_the_thinning_the_property_fails(problem, monkeypatch):
    monkeypatch.setattr(EarlyLateDropout, "hidden", Regularizer.hidden)
    assert not late_dropout_generalises(problem)
