from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from synthct.data.errors import UsageError
from synthct.tasks.regularization.base import Regularizer
from synthct.tasks.regularization.features.neighbourhood_structure import (
    NeighbourhoodStructure,
    cell_patches,
    divergence_of_rows,
    neighbourhoods,
)


def test_hand_value_of_the_neighbourhoods():
    """Centred, two samples are opposite: similarity 1 to itself, -1 to the other."""
    near = neighbourhoods(torch.tensor([[3.0], [5.0]]), temperature=2.0)
    assert near[0, 0].item() == pytest.approx(1 / (1 + math.exp(-1)))


def test_hand_value_of_the_divergence():
    p, q = torch.tensor([[0.75, 0.25]]), torch.tensor([[0.25, 0.75]])
    expected = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert divergence_of_rows(p, q).item() == pytest.approx(expected)
    assert divergence_of_rows(p, p).item() == pytest.approx(0, abs=1e-7)


@pytest.mark.parametrize("axes", [2, 3])
def test_a_cell_sees_the_patch_it_covers(axes):
    image = torch.arange(4.0**axes).view(1, 1, *[4] * axes)
    patches = cell_patches(image, [2] * axes, 2)
    assert patches.shape == (1, 2**axes, *[2] * axes)
    corner = image[(0, 0, *[slice(2)] * axes)]
    assert torch.equal(patches[(0, slice(None), *[0] * axes)], corner.flatten())


def with_features(problem, feature, **options):
    small = problem("neighbourhood_structure", detail=1, samples=36, **options)
    step = replace(small.step(), prediction=small.batch.target, features={"2": feature(small)})
    return small.member.regularizer.penalty(step).item()


def test_features_of_the_same_geometry_have_no_penalty(problem):
    like_ct = lambda small: torch.cat([3 * small.batch.target + 1, 0 * small.batch.target], 1)  # noqa: E731
    assert with_features(problem, like_ct) == pytest.approx(0, abs=1e-9)
    assert with_features(problem, lambda small: small.batch.source) > 0.01


def test_the_levels_are_walks_of_that_length_over_their_length(problem):
    feature = lambda small: small.batch.source  # noqa: E731
    one, two = (with_features(problem, feature, levels=n, temperature=0.5) for n in (1, 2))
    small = problem("neighbourhood_structure")
    rows = lambda values: values.flatten(2).transpose(1, 2).flatten(0, 1)  # noqa: E731
    x, a = (neighbourhoods(rows(v), 0.5) for v in (small.batch.target, small.batch.source))
    second = divergence_of_rows(x @ x, a @ a).item()
    assert one == pytest.approx(divergence_of_rows(x, a).item())
    assert two == pytest.approx((one + second / 2) / 2)


@pytest.mark.parametrize(
    "options",
    [{"levels": 0}, {"temperature": 0.0}, {"detail": 0}, {"samples": 1}, {"geometry": "mr"}],
)
def test_impossible_options_are_refused(problem, options):
    with pytest.raises(UsageError, match=r"(must|should) be"):
        problem("neighbourhood_structure", **options)


def test_a_layer_that_does_not_exist_is_reported(problem):
    small = problem("neighbourhood_structure", layer="z")
    assert "no layer is called 'z'" in small.member.regularizer.problems(small.model)[0]


def scene(seed):
    """Source of six channels, two of which make the CT."""
    rng = torch.Generator().manual_seed(seed)
    source = torch.randn((1, 6, 7, 7), generator=rng, dtype=torch.float64)
    return source, torch.tanh(source[:, :1] + source[:, 1:2])


def shared_neighbours(problem, weight):
    """On an unseen patch: of the ten nearest places in the CT, how many are in the features."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(6, 10, 1), nn.Tanh(), nn.Conv2d(10, 1, 1)).double()
    small = problem("neighbourhood_structure", weight=weight, model=model, detail=1)
    source, target = scene(1)
    batch = replace(small.batch, source=source, target=target, mask=torch.ones_like(target))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for number in range(150):
        optimizer.zero_grad()
        small.objective(small.step(number, batch, seed=number)).backward()
        optimizer.step()
    source, target = scene(2)
    with torch.no_grad():
        near = [
            torch.cdist(v.flatten(2)[0].T, v.flatten(2)[0].T) for v in (target, model[:2](source))
        ]
    nearest = [n.argsort(dim=1)[:, 1:11] for n in near]
    shared = [len(set(a.tolist()) & set(b.tolist())) for a, b in zip(*nearest, strict=True)]
    return sum(shared) / (10 * len(shared))


def preserves_the_geometry(problem):
    return shared_neighbours(problem, 1.0) > shared_neighbours(problem, 0.0) + 0.1


@pytest.mark.claim
def test_neighbours_in_the_ct_are_neighbours_in_the_features(problem):
    """The paper's claim: the neighbourhood geometry is preserved, with few pairs."""
    assert preserves_the_geometry(problem)


def test_without_the_penalty_the_property_fails(problem, monkeypatch):
    monkeypatch.setattr(NeighbourhoodStructure, "penalty", Regularizer.penalty)
    assert not preserves_the_geometry(problem)


def test_at_the_start_its_own_geometry_costs_nothing(problem):
    small = problem("neighbourhood_structure", geometry="start")
    small.composition.begin(small.step())
    value = small.composition.evaluate(small.step()).terms["neighbourhood_structure"].item()
    assert value == pytest.approx(0, abs=1e-12)
    with torch.no_grad():
        small.model[0].weight[0] = small.model[0].weight[1]
    assert small.composition.evaluate(small.step()).terms["neighbourhood_structure"].item() > 0.01


def kept_neighbours(problem, weight):
    """After fine-tuning to another law on one patch: neighbours of before on an unseen one."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(6, 10, 1), nn.Tanh(), nn.Conv2d(10, 1, 1)).double()
    small = problem("neighbourhood_structure", weight=weight, model=model, geometry="start")
    (source, _), (unseen, _) = scene(1), scene(2)
    target = torch.tanh(2 * source[:, 2:3] - source[:, 3:4])
    batch = replace(small.batch, source=source, target=target, mask=torch.ones_like(target))
    small.composition.begin(small.step(0, batch))

    def features():
        with torch.no_grad():
            rows = model[:2](unseen).flatten(2)[0].T
        return torch.cdist(rows, rows).argsort(dim=1)[:, 1:11]

    before = features()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for number in range(150):
        optimizer.zero_grad()
        evaluated = small.composition.evaluate(small.step(number, batch, seed=number))
        evaluated.value.backward()
        optimizer.step()
    pairs = zip(before.tolist(), features().tolist(), strict=True)
    shared = sum(len(set(a) & set(b)) for a, b in pairs) / before.numel()
    return shared, evaluated.terms["l1"].item()


@pytest.mark.claim
def test_a_network_keeps_its_own_geometry_while_it_is_fine_tuned_to_one_patch(problem):
    """The paper's claim for a pretrained modality, and the new law is learned all the same."""
    (kept, error), (plain, _) = kept_neighbours(problem, 3.0), kept_neighbours(problem, 0.0)
    assert kept > plain + 0.1
    assert error < 0.15
