import pytest
import torch

AFFINE = torch.tensor([[1.4, 0.2, -0.3], [0.5, 0.7, 0.1], [-0.2, 0.6, 1.2]])


def test_every_affine_map_is_free(value, affine):
    u = affine(AFFINE, shift=(5.0, -3.0, 1.0))
    assert value("bending", u) == pytest.approx(0, abs=1e-24)


@pytest.mark.parametrize("component", [0, 1, 2])
@pytest.mark.parametrize(
    ("bend", "expected"),
    [
        (lambda z, y, x: 0.35 * z**2, 0.7**2),
        (lambda z, y, x: 0.35 * y**2, 0.7**2),
        (lambda z, y, x: 0.35 * x**2, 0.7**2),
        (lambda z, y, x: 0.7 * z * y, 2 * 0.7**2),
        (lambda z, y, x: 0.7 * z * x, 2 * 0.7**2),
        (lambda z, y, x: 0.7 * y * x, 2 * 0.7**2),
    ],
)
def test_a_quadratic_counts_its_second_derivative(value, field, component, bend, expected):
    u = field(lambda z, y, x: [bend(z, y, x) if c == component else 0 * x for c in range(3)])
    assert value("bending", u) == pytest.approx(expected)


def test_a_free_edge_keeps_its_affine_part(denoise, affine, spacing):
    """The claim of free-form registration: noise goes, the global affine motion stays."""
    u = affine(AFFINE)
    rng = torch.Generator().manual_seed(0)
    noisy = u + 0.1 * torch.randn(u.shape, generator=rng, dtype=u.dtype)
    smooth = denoise("bending", noisy, weight=300.0)
    assert (smooth - u).square().mean() < 0.25 * (noisy - u).square().mean()


def test_two_voxels_cannot_bend(value):
    with pytest.raises(ValueError, match="3 voxels"):
        value("bending", torch.zeros((1, 3, 2, 4, 4)))
