from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional

from synthct.data.errors import UsageError
from synthct.tasks.regularization.base import Regularizer
from synthct.tasks.regularization.features.conr import ConR


def contrast(problem, target, predicted, z, **options):
    regularizer = problem("conr", **options).member.regularizer
    as_tensor = lambda values: torch.tensor(values, dtype=torch.float64)  # noqa: E731
    return regularizer.contrast(as_tensor(z), as_tensor(target), as_tensor(predicted)).item()


def test_hand_value(problem):
    """Two voxels 1 apart that the prediction takes for one; orthogonal features."""
    value = contrast(
        problem, [0.0, 1.0], [0.5, 0.5], [[1.0, 0.0], [0.0, 1.0]], temperature=0.5, similar=0.1
    )
    # Each has itself as partner, exp(2), and the other as confused, weight 1, exp(0).
    assert value == pytest.approx(math.log(1 + 1 / math.exp(2)))


def test_voxels_that_are_distinguished_have_no_penalty(problem):
    assert contrast(problem, [0.0, 1.0], [0.0, 1.0], [[1.0, 0.0], [1.0, 0.0]]) == 0


def test_the_rarer_label_pushes_harder(problem):
    """Three soft voxels and a bone one, all taken for soft: the bone voxel pays the most."""
    target, z = [0.0, 0.0, 0.0, 1.0], [[1.0, 0.0]] * 4
    value = contrast(problem, target, [0.0] * 4, z, similar=0.1)
    # Densities 3/4 and 1/4, so pushes 2/3 and 2; partners 3 and 1, confused 1 and 3.
    assert value == pytest.approx((3 * math.log(1 + (2 / 3) / 3) + math.log(1 + 2 * 3)) / 4)


def test_the_push_grows_with_the_distance_of_the_labels(problem):
    near, far = (
        contrast(problem, [0.0, apart], [0.0, 0.0], [[1.0, 0.0], [1.0, 0.0]]) for apart in (0.3, 1)
    )
    assert near < far


@pytest.mark.parametrize("options", [{"similar": 0.0}, {"temperature": 0.0}, {"samples": 1}])
def test_impossible_options_are_refused(problem, options):
    with pytest.raises(UsageError, match="must be"):
        problem("conr", **options)


def test_a_layer_that_does_not_exist_is_reported(problem):
    small = problem("conr", layer="z")
    assert "no layer is called 'z'" in small.member.regularizer.problems(small.model)[0]


def likeness_of_bone(problem, weight):
    """Mean cosine between bone and soft-tissue features: six of a hundred voxels are bone."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Tanh(), nn.Conv2d(8, 1, 1)).double()
    small = problem("conr", weight=weight, model=model, samples=100)
    rng = torch.Generator().manual_seed(1)
    bone = (torch.rand((2, 1, 10, 10), generator=rng) < 0.06).double()
    source = torch.randn((2, 3, 10, 10), generator=rng, dtype=torch.float64)
    source = torch.cat([source[:, :2], bone + 0.3 * source[:, 2:]], dim=1)
    target = 0.8 * bone
    batch = replace(small.batch, source=source, target=target, mask=torch.ones_like(target))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for number in range(120):
        optimizer.zero_grad()
        small.objective(small.step(number, batch, seed=number)).backward()
        optimizer.step()
    with torch.no_grad():
        feature = functional.normalize(model[:2](source), dim=1).transpose(0, 1).flatten(1)
        at = bone.flatten() > 0
        return (feature[:, at].T @ feature[:, ~at]).mean().item()


def keeps_bone_apart(problem):
    return likeness_of_bone(problem, 0.5) < likeness_of_bone(problem, 0.0) - 0.3


@pytest.mark.claim
def test_rare_bone_does_not_collapse_into_soft_tissue(problem):
    """The paper's claim: minority features are kept from collapsing into the majority's."""
    assert keeps_bone_apart(problem)


def test_without_the_penalty_the_property_fails(problem, monkeypatch):
    monkeypatch.setattr(ConR, "penalty", Regularizer.penalty)
    assert not keeps_bone_apart(problem)
