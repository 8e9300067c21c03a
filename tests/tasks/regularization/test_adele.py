from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from synthct.data.errors import UsageError
from synthct.tasks.models.contracts import Target
from synthct.tasks.models.description import TargetScaling
from synthct.tasks.regularization.targets.adele import Adele
from synthct.tasks.training.run_state import load_checkpoint, save_checkpoint

MIDDLE = -1 + 2 * (200 + 1024) / 4095
"""Limit between soft tissue and bone, 200 HU [network units]."""


@pytest.mark.parametrize(("rate", "onset"), [(0.5, 6), (0.25, 11)])
def test_the_onset_of_a_known_curve_is_where_its_slope_has_fallen_to_a_tenth(rate, onset):
    """f'(t) / f'(1) = exp(-b (t - 1)) < 0.1 from t = 1 + log(10) / b on, by hand."""
    assert onset == math.ceil(1 + math.log(10) / rate)
    curve = 0.8 * (1 - np.exp(-rate * np.arange(1, 20)))
    found = [n for n in range(1, 20) if Adele().memorises(curve[:n])]
    assert found[0] == onset


def test_a_class_that_is_still_learned_is_not_corrected():
    assert not Adele().memorises(np.arange(1, 20) / 40)
    assert not Adele().memorises(np.zeros(19))


def answering(problem, hu, **options):
    """A network that predicts these CT numbers, one a column, and targets of soft tissue."""
    model = nn.Conv2d(1, 1, 1, bias=False).double()
    nn.init.ones_(model.weight)
    small = problem("adele", model=model, **options)
    source = torch.tensor(hu, dtype=torch.float64).add(1024).div(2047.5).sub(1)
    source = source.expand(2, 1, 32, len(hu))
    target = torch.full_like(source, MIDDLE - 0.1)
    return small, replace(small.batch, source=source, target=target, mask=torch.ones_like(target))


def corrected(small, batch, number=1):
    step = replace(small.step(number, batch), prediction=small.model(batch.source))
    view = step.seen_by("adele", 1.0, small.member.memory)
    target = Target(batch.target, batch.mask, batch.spacing_mm, TargetScaling())
    return small.member.regularizer.target(target, view).value


def test_only_targets_of_another_class_are_replaced_and_only_after_the_onset(problem):
    small, batch = answering(problem, [1000.0, 50.0, 150.0, 700.0], scales=())
    assert torch.equal(corrected(small, batch), batch.target)
    small.member.memory["/frozen/1/weight"] = torch.ones(1, 1, 1, 1, dtype=torch.float64)
    value = corrected(small, batch)
    torch.testing.assert_close(value[..., [0, 3]], batch.source[..., [0, 3]])
    assert torch.equal(value[..., 1:3], batch.target[..., 1:3])


def test_what_the_scales_see_differently_is_not_corrected(problem):
    hu = [1000.0] * 32 + [0.0, 300.0, 0.0, 0.0] * 8
    small, batch = answering(problem, hu, scales=(0.5,))
    small.member.memory["/frozen/1/weight"] = torch.ones(1, 1, 1, 1, dtype=torch.float64)
    changed = (corrected(small, batch) != batch.target)[0, 0, 0]
    assert changed.tolist() == [True] * 32 + [False] * 32


def test_hand_value_of_the_consistency_over_scales(problem):
    """Half size of 0, 1, 0, 1 is 1/2 throughout: distances from the mean are 1/4."""
    model = nn.Conv2d(1, 1, 1, bias=False).double()
    nn.init.ones_(model.weight)
    small = problem("adele", model=model)
    source = torch.tensor([0.0, 1.0] * 32, dtype=torch.float64).expand(2, 1, 64, 64)
    batch = replace(small.batch, source=source, target=source, mask=torch.ones_like(source))
    value = small.composition.evaluate(small.step(0, batch)).terms["adele"]
    assert value.item() == pytest.approx(1 / 16)


@pytest.mark.parametrize(
    "options",
    [{"bounds_hu": (3.0, 1.0)}, {"scales": (0.0,)}, {"flattened": 1.0}, {"points": 3}],
)
def test_impossible_options_are_refused(problem, options):
    with pytest.raises(UsageError, match="must"):
        problem("adele", **options)


def patches(rng):
    """Soft tissue and bone told by one channel, and targets of which 30 % are of the other."""
    source = 0.4 * torch.randn((40, 60, 1, 1), generator=rng, dtype=torch.float64)
    side = torch.where(torch.rand((40, 1, 1, 1), generator=rng) < 0.5, 1.0, -1.0).double()
    source[:, :1], source[:, 1] = 2 * side, 2.0  # what most agree on is quickly learned
    wrong = torch.rand(40, generator=rng) < 0.3
    flipped = torch.where(wrong.view(-1, 1, 1, 1), -side, side)
    return source, MIDDLE + 0.15 * side, MIDDLE + 0.15 * flipped, wrong


def trained(problem, name, weight, steps=600, keep=None):
    """Share of the wrong targets whose class is predicted, and the error on right ones."""
    rng = torch.Generator().manual_seed(2)
    source, truth, target, wrong = patches(rng)
    others, _, theirs, _ = patches(rng)
    model = nn.Conv2d(60, 1, 1, bias=False).double()
    nn.init.zeros_(model.weight)
    with torch.no_grad():
        model.weight[:, 1] = (MIDDLE - 0.5) / 2  # air
    options = {"points": 300} if name == "adele" else {}
    small = problem(name, weight=weight, model=model, **options)
    batch = replace(small.batch, source=source, target=target, mask=torch.ones_like(target))
    held = replace(batch, source=others, target=theirs)
    for number in range(steps):
        step = replace(small.step(number, batch), total=steps, validation=lambda: held)
        evaluated = small.composition.evaluate(step)
        view = step.seen_by(name, weight, small.member.memory)
        wanted = Target(target, batch.mask, batch.spacing_mm, TargetScaling())
        predicted = evaluated.step.prediction
        value = small.member.regularizer.target(wanted, replace(view, prediction=predicted)).value
        loss = (predicted - value).square().mean()
        loss = loss + weight * evaluated.terms.get(name, torch.zeros(()))
        model.zero_grad()
        loss.backward()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter -= 0.05 * parameter.grad
        small.composition.project(evaluated.step)
    if keep is not None:
        keep.append(small)
    mistaken = (predicted > MIDDLE) != (truth > MIDDLE)
    return mistaken[wrong].double().mean().item(), (predicted - truth)[~wrong].abs().mean().item()


@pytest.mark.claim
def test_fewer_wrong_targets_are_memorised_than_by_one_target_for_all_classes(problem):
    """The paper's claim, against ``early_learning`` at the strength of its own test."""
    memorised, right = trained(problem, "adele", 1.0)
    earlier, _ = trained(problem, "early_learning", 3.0)
    plain, _ = trained(problem, "early_learning", 0.0)
    assert plain > 0.9
    assert memorised < 0.6 * earlier
    assert right < 0.05


def test_the_onsets_survive_a_checkpoint(problem, tmp_path):
    kept = []
    trained(problem, "adele", 1.0, steps=200, keep=kept)
    (small,) = kept
    assert "/frozen/1/weight" in small.member.memory
    save_checkpoint(tmp_path, small.composition.state())
    resumed = problem("adele", model=nn.Conv2d(60, 1, 1, bias=False).double())
    resumed.composition.restore(load_checkpoint(tmp_path))
    assert resumed.member.memory.keys() == small.member.memory.keys()
