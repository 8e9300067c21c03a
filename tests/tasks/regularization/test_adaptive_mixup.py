from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from synthct.data.errors import UsageError
from synthct.tasks.regularization.base import Regularizer
from synthct.tasks.regularization.inputs.adaptive_mixup import AdaptiveMixup, share_of


def test_hand_value_of_a_share():
    policy = torch.tensor([[0.0, 0.0, 0.0], [math.log(2), 0.0, 0.0], [0.0, 0.0, 0.0]])
    distances = torch.tensor([[1.0, 3.0, 5.0]])
    share = share_of(policy, distances, torch.tensor([0.5]))
    assert share.item() == pytest.approx(0.25 + 0.5 * 0.5)  # softmax (1/4, 1/2, 1/4)


def test_an_untrained_policy_mixes_widely(problem):
    small = problem("adaptive_mixup", every=2)
    batch = small.composition.perturb(small.step(number=1)).batch  # it does not learn here
    assert not torch.equal(batch.source, small.batch.source)
    assert small.member.memory == {}


def test_it_learns_at_every_kth_step_and_remembers_in_the_memory(problem):
    small = problem("adaptive_mixup", every=2)
    small.composition.perturb(small.step(number=2))
    policy = small.member.memory["policy"].clone()
    assert policy.shape == (3, 3)
    assert not policy.requires_grad
    small.composition.perturb(small.step(number=3))
    assert torch.equal(small.member.memory["policy"], policy)
    small.composition.perturb(small.step(number=4))
    assert not torch.equal(small.member.memory["policy"], policy)


def test_learning_leaves_no_gradient_on_the_network(problem):
    small = problem("adaptive_mixup")
    small.composition.perturb(small.step())
    assert all(p.grad is None for p in small.model.parameters())


def test_a_batch_of_one_stays_as_it_is(problem):
    small = problem("adaptive_mixup")
    one = replace(small.batch, source=small.batch.source[:1], target=small.batch.target[:1])
    assert small.composition.perturb(small.step(batch=one)).batch is one


@pytest.mark.parametrize("options", [{"learning_rate": 0.0}, {"every": 0}])
def test_impossible_options_are_refused(problem, options):
    with pytest.raises(UsageError, match="must be"):
        problem("adaptive_mixup", **options)


class Valley(nn.Module):
    """The true function, the modulus of the input, as a network."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones((), dtype=torch.float64))

    def forward(self, x):
        return self.scale * x.abs()


def avoids_contradictions(problem):
    """Samples at -1, 0 and 1 have targets 1, 0 and 1; halfway between -1 and 1 is a 0.

    Mixing those two midway contradicts the third. The policy must learn to mix the other pairs
    on, yet to keep out of the middle of this one.
    """
    small = problem("adaptive_mixup", model=Valley(), learning_rate=0.3, every=1)
    where = torch.tensor([-1.0, 0.0, 1.0, -1.0, 1.0, 0.0], dtype=torch.float64).view(-1, 1, 1, 1)
    batch = replace(small.batch, source=where, target=where.abs(), mask=torch.ones_like(where))
    first, last = [], []
    for number in range(300):
        mixed = small.composition.perturb(small.step(number, batch, seed=number)).batch
        conflict = (mixed.source.abs() - mixed.target).abs().mean().item()
        moved = ((mixed.source - where).abs() > 0.02).double().mean().item()
        (first if number < 20 else last).append((conflict, moved))
    (before, _), (after, moved) = (
        torch.tensor(part[-60:], dtype=torch.float64).mean(dim=0).tolist() for part in (first, last)
    )
    return after < 0.7 * before and moved > 0.25


@pytest.mark.claim
def test_the_policy_learns_to_avoid_mixtures_that_contradict_the_data(problem):
    """The paper's claim: the learned policy keeps clear of manifold intrusion, and still mixes."""
    assert avoids_contradictions(problem)


def test_without_the_perturbation_the_property_fails(problem, monkeypatch):
    monkeypatch.setattr(AdaptiveMixup, "perturb", Regularizer.perturb)
    assert not avoids_contradictions(problem)


def test_without_learning_the_property_fails(problem, monkeypatch):
    monkeypatch.setattr(AdaptiveMixup, "_learn", lambda *_: None)
    assert not avoids_contradictions(problem)
