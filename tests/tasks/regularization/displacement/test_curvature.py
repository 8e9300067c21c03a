import pytest
import torch

AFFINE = torch.tensor([[1.4, 0.2, -0.3], [0.5, 0.7, 0.1], [-0.2, 0.6, 1.2]])


def test_every_affine_map_is_free(value, affine):
    u = affine(AFFINE, shift=(5.0, -3.0, 1.0))
    assert value("curvature", u) == pytest.approx(0, abs=1e-24)


def test_the_laplacian_of_a_quadratic_is_exact(value, field):
    u = field(lambda z, y, x: [z**2, 0 * x, y**2 + 2 * x**2])
    assert value("curvature", u) == pytest.approx(2.0**2 + 6.0**2)


def test_a_saddle_is_free_where_bending_is_not(value, field):
    saddle = field(lambda z, y, x: [z**2 - y**2, z * x, 0 * x])
    assert value("curvature", saddle) == pytest.approx(0, abs=1e-20)
    assert value("bending", saddle) == pytest.approx(2.0**2 + 2.0**2 + 2 * 1.0**2)


def test_an_affine_step_before_is_not_needed(denoise, affine):
    """The paper's claim: unlike diffusion it leaves an affine misalignment as it is."""
    u = affine(AFFINE)
    kept = denoise("curvature", u, weight=100.0)
    shrunk = denoise("diffusion", u, weight=100.0)
    assert (kept - u).abs().max() < 1e-6
    assert (shrunk - u).abs().max() > 0.5
