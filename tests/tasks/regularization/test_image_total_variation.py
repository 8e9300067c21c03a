"""Total variation of images: hand values, the proximal map, weights by a guide."""

from __future__ import annotations

import pytest
import torch

from synthct.tasks.regularization.image.total_variation import (
    GuidedTotalVariation,
    ImageTotalVariation,
)

SPACING = (2.0, 1.0, 0.5)


def _step(axis, height=3.0):
    image = torch.zeros(1, 1, 4, 4, 4)
    image.narrow(axis + 2, 2, 2).fill_(height)
    return image


@pytest.mark.parametrize("form", ["isotropic", "anisotropic"])
@pytest.mark.parametrize(("axis", "expected"), [(0, 24.0), (1, 48.0), (2, 96.0)])
def test_a_step_costs_its_height_over_the_spacing_times_its_area(form, axis, expected):
    prior = ImageTotalVariation(form)
    assert float(prior.image(_step(axis), SPACING)) == pytest.approx(expected)


def test_a_corner_costs_less_isotropically():
    image = torch.zeros(1, 1, 2, 2, 2)
    image[..., 0, 0, 0] = 1.0
    spacing = (1.0, 1.0, 1.0)
    assert float(ImageTotalVariation("isotropic").image(image, spacing)) == pytest.approx(3**0.5)
    assert float(ImageTotalVariation("anisotropic").image(image, spacing)) == pytest.approx(3.0)


@pytest.mark.parametrize("form", ["isotropic", "anisotropic"])
def test_no_neighbour_of_the_proximal_map_is_better(form):
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(1, 1, 5, 6, 7, generator=rng, dtype=torch.float64)
    prior = ImageTotalVariation(form, iterations=2000)
    found = prior.prox(x, SPACING, 0.2)

    def objective(v):
        return float((v - x).square().sum() / 2 + 0.2 * prior.image(v, SPACING))

    best = objective(found)
    assert best < objective(x)
    for size in (1e-1, 1e-2, 1e-3):
        for _ in range(10):
            other = found + size * torch.randn(found.shape, generator=rng, dtype=torch.float64)
            assert objective(other) > best


def test_a_constant_is_left_alone_and_a_strong_prior_returns_the_mean():
    x = torch.rand(1, 1, 4, 4, 4, generator=torch.Generator().manual_seed(1))
    prior = ImageTotalVariation(iterations=3000)
    assert torch.allclose(prior.prox(x, SPACING, 100.0), x.mean().expand_as(x), atol=1e-3)
    assert torch.allclose(prior.prox(torch.full_like(x, 2.0), SPACING, 1.0), torch.tensor(2.0))
    assert prior.prox(x, SPACING, 0.0) is x


def test_the_guide_weighs_one_on_flat_ground_and_less_at_its_edges():
    guide = _step(2)  # 3 over 0.5 mm: 6 per mm between the second and third voxel
    prior = GuidedTotalVariation(edge_per_mm=2.0)
    weighted = prior.guided(guide, SPACING)
    share = 2.0 / 40.0**0.5
    assert float(weighted.image(_step(2), SPACING)) == pytest.approx(96 * share)
    # of the 16 columns along z, the 4 at the guide's edge count less
    assert float(weighted.image(_step(0), SPACING)) == pytest.approx(18 + 6 * share)
    half = GuidedTotalVariation(edge_per_mm=2.0, power=0.5).guided(guide, SPACING)
    assert float(half.image(_step(2), SPACING)) == pytest.approx(96 * share**0.5)


def test_edges_of_the_guide_keep_their_contrast_where_plain_variation_flattens_them():
    image = _step(2) + 0.3 * torch.randn(1, 1, 4, 4, 4, generator=torch.Generator().manual_seed(2))
    plain = ImageTotalVariation(iterations=500)
    guided = GuidedTotalVariation(edge_per_mm=0.5, iterations=500).guided(_step(2), SPACING)

    def contrast(v):
        return float(v[..., 2:].mean() - v[..., :2].mean())

    assert contrast(guided.prox(image, SPACING, 0.5)) > 0.9 * contrast(image)
    assert contrast(plain.prox(image, SPACING, 0.5)) < 0.8 * contrast(image)
