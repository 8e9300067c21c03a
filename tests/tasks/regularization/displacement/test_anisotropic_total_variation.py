import math

import pytest
import torch


def test_slopes_along_the_axes_add_up(value, affine):
    rounded = lambda slope: math.sqrt(slope**2 + 0.01**2) - 0.01  # noqa: E731
    matrix = torch.eye(3) + torch.tensor([[0.0, 0.0, 0.0], [0.1, -0.2, 0.3], [0.0, 0.0, 0.0]])
    expected = rounded(0.1) + rounded(0.2) + rounded(0.3)
    assert value("anisotropic_total_variation", affine(matrix)) == pytest.approx(expected, rel=1e-6)


def test_an_oblique_slope_costs_root_three_more_than_isotropically(value, affine):
    matrix = torch.eye(3)
    matrix[0] += 0.4
    ratio = value("anisotropic_total_variation", affine(matrix), epsilon=1e-6) / value(
        "total_variation", affine(matrix), epsilon=1e-6
    )
    assert ratio == pytest.approx(math.sqrt(3), rel=1e-4)


def test_noise_becomes_even_patches(denoise, field):
    """The paper's claim: sparse slopes. Most neighbours move alike, which diffusion never makes."""
    rng = torch.Generator().manual_seed(0)
    truth = field(lambda z, y, x: [(y > 3.5) * 2.0, 0 * x, 0 * x], (2, 8, 8), (1.0, 1.0, 1.0))
    noisy = truth + 0.1 * torch.randn(truth.shape, generator=rng, dtype=truth.dtype)

    def flat_share(name):
        found = denoise(name, noisy, 0.1, (1.0, 1.0, 1.0), steps=60)
        slopes = torch.cat([torch.diff(found, dim=axis).flatten() for axis in (2, 3, 4)])
        return (slopes.abs() < 0.01).double().mean().item()

    assert flat_share("anisotropic_total_variation") > 0.8
    assert flat_share("diffusion") < 0.4
