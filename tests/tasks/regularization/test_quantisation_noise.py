from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from synthct.data.errors import UsageError
from synthct.tasks.regularization.gradients.quantisation_noise import _noise
from tests.tasks.regularization.toy_training import error, lesson, student, train


def to_bits(model, bits):
    """Every filter rounded to nearest, after training."""
    with torch.no_grad():
        for module in model:
            if isinstance(module, nn.Conv2d):
                most = module.weight.abs().flatten(1).max(dim=1).values
                unit = (most / (2 ** (bits - 1) - 1)).view(-1, 1, 1, 1)
                module.weight.copy_(torch.round(module.weight / unit) * unit)
    return model


def test_the_noise_reaches_beyond_half_a_step_of_its_own_filter():
    weight = torch.tensor([[127.0, 1.0, 0.0], [0.0, 1.27, 0.5]])
    rng = torch.Generator().manual_seed(0)
    drawn = torch.stack([_noise(weight, 8, rng) for _ in range(500)])
    widest = drawn.abs().amax(dim=(0, 2))
    np.testing.assert_allclose(widest, [0.5, 0.005], rtol=0.02)
    assert (widest <= torch.tensor([0.5, 0.005])).all()
    assert drawn.mean(dim=0).abs().max() < 0.05


def test_samples_are_rounded_to_the_bits_of_their_own_range(problem):
    small = problem("quantisation_noise", weight=1.0, bits=2)
    before = small.batch.source
    after = small.composition.perturb(small.step()).batch.source
    for one, coarse in zip(before, after, strict=True):
        levels = torch.unique(coarse)
        assert len(levels) <= 4
        assert torch.isclose(levels[0], one.min())
        assert (one - coarse).abs().max() <= (one.max() - one.min()) / 6 + 1e-12
    same = problem("quantisation_noise", weight=1.0, bits=2, inputs=False)
    assert torch.equal(same.composition.perturb(same.step()).batch.source, before)


@pytest.mark.claim
def test_rounding_to_three_bits_costs_less_than_after_plain_training(problem):
    costs = {}
    for weight in (0.0, 1.0):
        small = problem("quantisation_noise", weight=weight, model=student(), bits=3, inputs=False)
        small.batch = lesson()
        released = train(small, 300)
        exact = error(released, lesson(seed=1))
        costs[weight] = error(to_bits(released, 3), lesson(seed=1)) - exact
    assert costs[1.0] < 0.9 * costs[0.0]


@pytest.mark.parametrize("bits", [1, 17])
def test_impossible_options_are_refused(problem, bits):
    with pytest.raises(UsageError, match="must be"):
        problem("quantisation_noise", bits=bits)
