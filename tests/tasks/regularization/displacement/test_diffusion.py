import math

import pytest
import torch


@pytest.mark.parametrize("plane", [(0, 1), (0, 2), (1, 2)])
def test_a_rotation_counts_four_times_one_minus_the_cosine(value, affine, rotation, plane):
    found = value("diffusion", affine(rotation(0.3, plane)))
    assert found == pytest.approx(4 * (1 - math.cos(0.3)), rel=1e-6)


def test_halving_the_angle_divides_it_by_four(value, affine, rotation):
    ratio = value("diffusion", affine(rotation(0.02))) / value("diffusion", affine(rotation(0.01)))
    assert ratio == pytest.approx(4, rel=1e-3)


def test_all_nine_slopes_add_up(value, affine):
    slopes = torch.arange(1.0, 10.0, dtype=torch.float64).view(3, 3) / 10
    found = value("diffusion", affine(torch.eye(3) + slopes))
    assert found == pytest.approx(sum(k**2 for k in range(1, 10)) / 100)


def test_noise_is_smoothed_as_by_heat(denoise, affine):
    """One implicit step of the heat equation: a cosine wave k shrinks by 1 / (1 + 2 w k^2)."""
    n, wave = 16, 3
    at = torch.arange(n, dtype=torch.float64)
    u = torch.zeros((1, 3, 2, 2, n), dtype=torch.float64)
    u[0, 1] = torch.cos(math.pi * wave * (at + 0.5) / n)
    weight = 0.7
    eigenvalue = (2 * math.sin(math.pi * wave / (2 * n)) / 0.5) ** 2 * n / (n - 1)
    found = denoise("diffusion", u, weight)
    torch.testing.assert_close(found, u / (1 + 2 * weight * eigenvalue), rtol=0, atol=1e-6)
