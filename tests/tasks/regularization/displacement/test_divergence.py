import math

import pytest
import torch

from synthct.tasks.fields.derivatives import divergence


def test_the_diagonal_adds_up_and_shears_are_free(value, affine):
    matrix = [[1.3, 0.5, -0.4], [0.2, 0.9, 0.6], [0.7, -0.3, 1.1]]
    assert value("divergence", affine(matrix)) == pytest.approx(0.3**2)


@pytest.mark.parametrize("plane", [(0, 1), (0, 2), (1, 2)])
def test_a_rotation_counts_the_error_of_the_linearisation(value, affine, rotation, plane):
    found = value("divergence", affine(rotation(0.5, plane)))
    assert found == pytest.approx(4 * (1 - math.cos(0.5)) ** 2, rel=1e-5)


def test_gas_may_be_let_go(value, affine):
    u = affine(1.1 * torch.eye(3))
    tissue = torch.ones((1, 1, *u.shape[2:]), dtype=u.dtype)
    tissue[..., :4, :] = 0  # all cells: the last row along y starts none
    assert value("divergence", u, tissue=tissue) == 0
    assert value("divergence", u) == pytest.approx(0.3**2)


def test_what_is_left_of_noise_is_incompressible(denoise):
    """The claim: a projection towards divergence-free motion, not a smoothing."""
    rng = torch.Generator().manual_seed(1)
    u = 0.3 * torch.randn((1, 3, 4, 5, 6), generator=rng, dtype=torch.float64)
    found = denoise("divergence", u, weight=100.0)
    spacing = (3.0, 1.0, 0.5)
    left = divergence(found, spacing).square().mean() / divergence(u, spacing).square().mean()
    assert left < 1e-3
    assert found.square().mean() > 0.4 * u.square().mean()  # two of three degrees of freedom
