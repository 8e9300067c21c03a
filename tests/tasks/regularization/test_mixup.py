from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from synthct.data.errors import UsageError
from synthct.tasks.regularization.base import Regularizer
from synthct.tasks.regularization.inputs.mixing import Mixture, draw_beta, draw_partners
from synthct.tasks.regularization.inputs.mixup import Mixup


def test_hand_value(problem):
    mixture = Mixture(torch.tensor([1, 0]), torch.tensor([0.75, 1.0]))
    values = torch.tensor([[2.0], [10.0]])
    assert mixture.of(values).tolist() == [[0.75 * 2 + 0.25 * 10], [10.0]]


def test_a_mixed_voxel_counts_only_where_both_have_a_ct(problem):
    batch = problem("mixup").batch
    mask = torch.ones_like(batch.mask)
    mask[0, 0, 0, 0] = 0
    mixture = Mixture(torch.tensor([1, 0]), torch.tensor([1.0, 0.5]))
    mixed = mixture.of_batch(replace(batch, mask=mask)).mask
    assert mixed[0, 0, 0, 0] == 0  # left alone: its own mask
    assert mixed[1, 0, 0, 0] == 0  # mixed with the first, which has nothing there
    assert mixed.sum() == mask.numel() - 2


def test_source_and_target_are_mixed_with_the_same_share(problem):
    small = problem("mixup")
    twins = replace(small.batch, target=small.batch.source[:, :1])
    mixed = small.composition.perturb(small.step(batch=twins)).batch
    assert not torch.equal(mixed.target, twins.target)
    torch.testing.assert_close(mixed.source[:, :1], mixed.target)


def test_the_strength_is_the_probability_of_being_mixed(problem):
    small = problem("mixup", weight=0.25)
    changed = 0
    for seed in range(300):
        source = small.composition.perturb(small.step(seed=seed)).batch.source
        changed += int((source != small.batch.source).flatten(1).any(dim=1).sum())
    assert changed / 600 == pytest.approx(0.25, abs=0.05)


def test_nobody_is_its_own_partner():
    rng = torch.Generator().manual_seed(0)
    for count in (2, 3, 8):
        partner = draw_partners(count, rng)
        assert sorted(partner.tolist()) == list(range(count))
        assert (partner != torch.arange(count)).all()
    assert draw_partners(1, rng).tolist() == [0]


def test_shares_follow_the_beta_distribution():
    shares = draw_beta(0.4, 4000, torch.Generator().manual_seed(0))
    assert shares.mean().item() == pytest.approx(0.5, abs=0.02)
    assert shares.var().item() == pytest.approx(1 / (4 * (2 * 0.4 + 1)), abs=0.005)


def test_an_impossible_alpha_is_refused(problem):
    with pytest.raises(UsageError, match="must be positive"):
        problem("mixup", alpha=0.0)


def wiggly_network():
    torch.manual_seed(0)
    layers = (nn.Conv2d(2, 16, 1), nn.Tanh(), nn.Conv2d(16, 1, 1))
    model = nn.Sequential(*layers).double()
    model[0].weight.data *= 3
    return model


def is_more_linear_between_samples(problem):
    """Mean distance from the chord between training samples, trained with and without."""

    def bend(weight, seed):
        small = problem("mixup", weight=weight, model=wiggly_network(), alpha=1.0)
        optimizer = torch.optim.Adam(small.model.parameters(), lr=0.03)
        rng = torch.Generator().manual_seed(seed)
        source = 2 * torch.randn((8, 2, 1, 1), generator=rng, dtype=torch.float64)
        target = torch.rand((8, 1, 1, 1), generator=rng, dtype=torch.float64).round() - 0.5
        batch = replace(small.batch, source=source, target=target, mask=torch.ones_like(target))
        for number in range(400):
            step = small.composition.perturb(small.step(number, batch, seed=number))
            optimizer.zero_grad()
            small.objective(step).backward()
            optimizer.step()
        with torch.no_grad():
            ends = small.model(source)
            middle = small.model(0.5 * (source + source.roll(1, 0)))
        return (middle - 0.5 * (ends + ends.roll(1, 0))).abs().mean().item()

    mixed, plain = (sum(bend(weight, seed) for seed in (6, 7)) for weight in (1.0, 0.0))
    return mixed < 0.75 * plain


@pytest.mark.claim
def test_the_network_is_more_linear_between_samples(problem):
    """The paper's claim: mixup demands local linearity off the data manifold."""
    assert is_more_linear_between_samples(problem)


def test_without_the_perturbation_the_property_fails(problem, monkeypatch):
    monkeypatch.setattr(Mixup, "perturb", Regularizer.perturb)
    assert not is_more_linear_between_samples(problem)
