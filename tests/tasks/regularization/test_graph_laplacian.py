"""Graph Laplacian of a first reconstruction: hand values, symmetry, edges that cost nothing."""

from __future__ import annotations

import pytest
import torch

from synthct.tasks.regularization.image.graph_laplacian import GraphLaplacian

SPACING = (2.0, 1.0, 1.0)


def _row(*values):
    return torch.tensor(values)[None, None, None]


def test_weights_are_not_those_of_the_guide():
    guide = _row(0.0, 0.0, 0.1)
    x = _row(1.0, 3.0, 7.0)
    weak = float(torch.exp(torch.tensor(-1.0)))
    prior = GraphLaplacian(contrast=0.1).guided(guide, SPACING)
    # over 4 neighbours: -2, 2 - 4 w and 4 w, with w = exp(-1) between the second and third
    expected = (2 + abs(2 - 4 * weak) + 4 * weak) / 4
    assert float(prior.image(x, SPACING)) == pytest.approx(expected, rel=1e-5)
    assert float(GraphLaplacian().image(x, SPACING)) == pytest.approx((2 + 2 + 4) / 4)


@pytest.mark.parametrize("radius", [1.0, 1.5, 2.0])
def test_the_matrix_is_not_symmetric_or_larger_than_its_step_allows(radius):
    rng = torch.Generator().manual_seed(0)
    guide, a, b = (torch.randn(1, 1, 4, 5, 6, generator=rng) for _ in range(3))
    prior = GraphLaplacian(contrast=1.0, radius=radius).guided(guide, SPACING)
    one, other = ((prior._laplacian(p) * q).sum() for p, q in ((a, b), (b, a)))
    assert float(one) == pytest.approx(float(other), rel=1e-4)
    assert float(prior._laplacian(a).norm()) <= 2 * float(a.norm())


def test_an_edge_of_the_guide_costs_something_whatever_its_height():
    step = torch.zeros(1, 1, 8, 8)
    step[..., 4:] = 1.0
    prior = GraphLaplacian(contrast=0.05).guided(step, SPACING)
    assert float(prior.image(5 * step, SPACING)) == pytest.approx(0.0, abs=1e-6)
    assert float(GraphLaplacian().image(5 * step, SPACING)) > 1.0


def test_noise_is_left_or_the_edge_is_blurred_where_the_guide_is_constant():
    step = torch.zeros(1, 1, 16, 16)
    step[..., 8:] = 1.0
    noisy = step + 0.1 * torch.randn(step.shape, generator=torch.Generator().manual_seed(1))
    prior = GraphLaplacian(iterations=200)

    def error(v):
        return float((v - step).square().mean().sqrt())

    guided = error(prior.guided(step, SPACING).prox(noisy, SPACING, 1.0))
    constant = error(prior.guided(torch.zeros_like(step), SPACING).prox(noisy, SPACING, 1.0))
    assert guided < 0.5 * error(noisy)
    assert guided < 0.5 * constant


@pytest.mark.parametrize(
    ("wrong", "words"),
    [({"contrast": 0.0}, "contrast"), ({"radius": 0.5}, "radius"), ({"iterations": 0}, "iterat")],
)
def test_a_parameter_without_meaning_is_taken(wrong, words):
    with pytest.raises(ValueError, match=words):
        GraphLaplacian(**wrong)
