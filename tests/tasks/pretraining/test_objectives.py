"""Each objective without labels: hand values, the paper's property, what all of them promise."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from scipy.sparse.csgraph import minimum_spanning_tree
from torch import nn

from synthct.data.errors import UsageError
from synthct.tasks.pretraining.base import covariance, effective_rank
from synthct.tasks.pretraining.objectives import OBJECTIVES
from synthct.tasks.pretraining.objectives.iterative_whitening import whitened
from synthct.tasks.pretraining.objectives.local_dimension import dimensions
from synthct.tasks.pretraining.objectives.spanning_tree import tree
from tests.tasks.pretraining.conftest import Free

SQUARE = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])


def linear(images, places):
    """Embeddings that are linear in the image: the voxel and its two neighbours."""
    padded = nn.functional.pad(images[:, 0], (1, 1), mode="replicate")
    batch = torch.arange(len(images))[:, None]
    y, x = places[..., 0], places[..., 1]
    return torch.stack([padded[batch, y, x + k] for k in range(3)], dim=-1).flatten(0, 1)


def trained(name, options, views, steps=150, size=4):
    """Embeddings by a small network after training on noisy pairs; its rank at the end."""
    rng = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, size))
    objective, memory = OBJECTIVES.build(name, options), {}
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    x = torch.randn((48, 6), generator=rng)
    for _ in range(steps):
        first, second = (model(x + 0.3 * torch.randn(x.shape, generator=rng)) for _ in range(2))
        optimizer.zero_grad()
        objective(views, Free(first, second), memory).backward()
        optimizer.step()
    return model(x).detach()


def second_moment_rank(z):
    """Effective rank about the origin: 1 where all embeddings point the same way."""
    z = nn.functional.normalize(z, dim=1)
    return effective_rank(torch.cat([z, -z]))


@pytest.mark.parametrize("name", OBJECTIVES.names())
def test_an_objective_is_not_finite_or_changes_with_each_evaluation(name, views):
    objective = OBJECTIVES.build(name, {})
    first = torch.randn((15, 3), generator=torch.Generator().manual_seed(5)).requires_grad_()
    second = first.detach().flip(0) + 0.1
    before = first.detach().clone()

    def value():
        again = copy.copy(views)
        object.__setattr__(again, "rng", torch.Generator().manual_seed(7))
        scale = torch.ones(()).requires_grad_()
        function = lambda images, places: scale * linear(images, places)  # noqa: E731
        found = objective(again, Free(first, second, function), {})
        leaves = [leaf for leaf in (first, scale) if leaf.requires_grad]
        return found, torch.autograd.grad(found, leaves, allow_unused=True)

    one, slopes = value()
    assert one.ndim == 0
    assert torch.isfinite(one)
    assert any(slope is not None and torch.isfinite(slope).all() for slope in slopes)
    assert value()[0] == one
    assert torch.equal(first.detach(), before)


def test_tico_hand_value(views):
    z, other = torch.eye(2), torch.eye(2).flip(0)
    objective, memory = OBJECTIVES.build("tico", {"contrast": 8.0, "decay": 0.75}), {}
    assert objective(views, Free(z, other), memory).item() == pytest.approx(1 + 8 * 0.5)
    again = objective(views, Free(z[[0, 0]], z[[0, 0]]), memory)
    assert again.item() == pytest.approx(8 * (0.75 * 0.5 + 0.25))


def test_without_the_contrast_all_voxels_get_one_embedding(views):
    collapsed = second_moment_rank(trained("tico", {"contrast": 0.0}, views))
    spread = second_moment_rank(trained("tico", {}, views))
    assert collapsed < 2
    assert spread > 3


def test_barlow_twins_hand_value(views):
    objective = OBJECTIVES.build("mixed_barlow_twins", {"mixing": 0.0, "redundancy": 0.5})
    assert objective(views, Free(SQUARE, SQUARE), {}).item() == pytest.approx(0, abs=1e-6)
    same = SQUARE[:, [0, 0]]
    assert objective(views, Free(same, same), {}).item() == pytest.approx(0.5 * 2, abs=1e-4)
    assert objective(views, Free(SQUARE, -SQUARE), {}).item() == pytest.approx(8, abs=1e-3)


def test_mixing_does_not_notice_embeddings_that_know_scans_by_heart(views):
    """Of an erratic function, blends of windows are no blends of embeddings."""

    def bent(function):
        free = Free(function(views.first, views.places), function(views.second, views.places))
        free.function = function
        values = [
            OBJECTIVES.build("mixed_barlow_twins", {"mixing": m})(views, free, {}).item()
            for m in (4.0, 0.0)
        ]
        return values[0] - values[1]

    erratic = lambda images, places: torch.sin(40 * linear(images, places))  # noqa: E731
    assert bent(linear) < 0.5 * bent(erratic)


def test_masked_latents_hand_value(views):
    q = torch.eye(5).repeat(3, 1)
    objective = OBJECTIVES.build("masked_latents", {"temperature": 1.0})
    found = objective(views, Free(None, None, lambda images, places: q), {})
    assert found.item() == pytest.approx(-1 + math.log(math.e + 4))


def test_a_masked_view_shows_what_is_hidden(views):
    seen = []
    keep = lambda images, places: seen.append(images) or linear(images, places)  # noqa: E731
    OBJECTIVES.build("masked_latents", {})(views, Free(None, None, keep), {})
    masked, whole = seen
    assert torch.equal(whole, views.first)
    assert torch.equal(masked[:, :, 4:], views.first[:, :, 4:])
    mean = views.first[:, :, 4:].mean(dim=(1, 2, 3))
    assert torch.allclose(masked[:, 0, :4].flatten(1), mean[:, None], atol=1e-6)


def test_spanning_tree_hand_value(views):
    z = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    objective = OBJECTIVES.build("spanning_tree", {})
    assert objective(views, Free(z, z), {}).item() == pytest.approx(-math.sqrt(2))
    assert objective(views, Free(2 * z, 2 * z), {}).item() == pytest.approx(1 - 2 * math.sqrt(2))


def test_spanning_tree_is_not_the_shortest():
    z = torch.randn((40, 3), generator=torch.Generator().manual_seed(1))
    start, end = tree(z)
    apart = torch.cdist(z, z).numpy()
    wanted = minimum_spanning_tree(apart).sum()
    assert len(start) == 39
    assert (z[start] - z[end]).norm(dim=1).sum().item() == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize("name", ["spanning_tree", "local_dimension"])
def test_embeddings_stay_on_a_curve(views, name):
    """From points along an arc of the sphere, with a hair's breadth of noise."""
    angle = torch.linspace(0, 1.5, 40)
    z = torch.stack([angle.cos(), angle.sin(), torch.zeros(40)], dim=1)
    z = z + 1e-2 * torch.randn(z.shape, generator=torch.Generator().manual_seed(2))
    start = z.clone()
    z.requires_grad_()
    objective = OBJECTIVES.build(name, {})
    optimizer = torch.optim.Adam([z], lr=0.02)
    for _ in range(60):
        optimizer.zero_grad()
        objective(views, Free(z, z), {}).backward()
        optimizer.step()
    assert effective_rank(z) > effective_rank(start) + 0.7
    assert dimensions(z.detach(), 16).median() > 1.5 * dimensions(start, 16).median()


def test_whitening_is_not_that_of_the_eigenvectors():
    z = torch.randn((200, 3), generator=torch.Generator().manual_seed(1)).double()
    z = z @ torch.tensor([[1.0, 0.5, 0.0], [0.0, 1.0, 0.3], [0.0, 0.0, 0.6]]).double()
    values, vectors = np.linalg.eigh(np.cov(z.numpy().T, bias=True))
    root = vectors @ np.diag(values**-0.5) @ vectors.T
    wanted = (z - z.mean(dim=0)) @ torch.from_numpy(root)
    assert torch.allclose(whitened(z, 20), wanted, atol=1e-6)
    few = torch.linalg.eigvalsh(covariance(whitened(z, 2)))
    assert few.min() < 0.9  # small eigenvalues are left small


def test_the_trace_term_leaves_the_spectrum_uneven(views):
    def evenness(trace):
        z = trained("iterative_whitening", {"trace": trace, "iterations": 2}, views, size=3)
        spectrum = torch.linalg.eigvalsh(covariance(z))
        return (spectrum.min() / spectrum.max()).item()

    assert evenness(0.5) > max(0.3, 1.5 * evenness(0.0))


def test_local_dimension_hand_value():
    line = torch.tensor([[0.0], [1.0], [-2.0], [4.0]])
    wanted = 1 / np.mean([math.log(4), math.log(2), 0])
    assert dimensions(line, 3)[0].item() == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("count", [1, 2, 4])
def test_local_dimension_is_that_of_the_space_around(count):
    x = torch.rand((600, count), generator=torch.Generator().manual_seed(count))
    lifted = torch.cat([x, 0.3 * x.square(), torch.zeros(600, 3)], dim=1)
    assert dimensions(lifted, 32).log().mean().exp().item() == pytest.approx(count, rel=0.25)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("tico", {"contrast": -1.0}), ("tico", {"decay": 1.0}),
        ("mixed_barlow_twins", {"mixing": -1.0}), ("masked_latents", {"temperature": 0.0}),
        ("spanning_tree", {"most": 1}), ("iterative_whitening", {"iterations": 0}),
        ("local_dimension", {"neighbours": 1}),
    ],
)  # fmt: skip
def test_an_option_without_meaning_is_taken(name, options):
    with pytest.raises(UsageError, match=next(iter(options))):
        OBJECTIVES.build(name, options)
