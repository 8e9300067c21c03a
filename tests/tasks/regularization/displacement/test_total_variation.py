import math

import pytest
import torch

from synthct.data.errors import UsageError

LONG = (2, 2, 24)


def test_a_ramp_counts_its_slope(value, affine):
    slope = math.sqrt(0.3**2 + 0.01**2) - 0.01
    for axis in range(3):
        matrix = torch.eye(3)
        matrix[1, axis] += 0.3
        assert value("total_variation", affine(matrix)) == pytest.approx(slope, rel=1e-6)


def test_three_components_add_up_or_share_one_root(value, affine):
    matrix = torch.eye(3) + 0.2
    apart = value("total_variation", affine(matrix), epsilon=1e-6)
    together = value("total_variation", affine(matrix), epsilon=1e-6, coupled=True)
    assert apart == pytest.approx(3 * math.sqrt(3) * 0.2, rel=1e-4)
    assert together == pytest.approx(3 * 0.2, rel=1e-4)


def test_coupled_it_does_not_depend_on_how_the_components_are_turned(value, rotation):
    rng = torch.Generator().manual_seed(0)
    u = torch.randn((1, 3, 4, 4, 4), generator=rng, dtype=torch.float64)
    turned = torch.einsum("ij,bjzyx->bizyx", rotation(0.7), u)
    plain = value("total_variation", u, coupled=True)
    assert value("total_variation", turned, coupled=True) == pytest.approx(plain)
    assert value("total_variation", turned) != pytest.approx(value("total_variation", u), rel=1e-3)


def sliding(field, width):
    """The z component rises by 2 mm along x over ``width`` voxels."""
    return field(lambda z, y, x: [((x / 0.5 - 11) / width).clamp(0, 1) * 2, 0 * x, 0 * x], LONG)


def test_a_jump_costs_what_a_slow_rise_costs(value, field):
    jump, rise = sliding(field, 1), sliding(field, 10)
    sharp, slow = (value("total_variation", u, epsilon=1e-4) for u in (jump, rise))
    assert sharp == pytest.approx(slow, rel=1e-2)
    assert sharp > 0.1
    assert value("diffusion", jump) == pytest.approx(10 * value("diffusion", rise))


def test_sliding_survives_where_diffusion_smears_it(denoise, field):
    """The claim: discontinuities are kept. The step of 2 mm is between two voxels."""
    jump = sliding(field, 1)
    step = lambda v: (v[0, 0, 0, 0, 12] - v[0, 0, 0, 0, 11]).item()  # noqa: E731
    kept = denoise("total_variation", jump, weight=0.3)
    smeared = denoise("diffusion", jump, weight=0.3)
    assert step(kept) > 0.8 * 2
    assert step(smeared) < 0.5 * 2


@pytest.mark.parametrize("name", ["total_variation", "anisotropic_total_variation"])
def test_a_corner_that_is_not_rounded_is_refused(value, name, affine):
    with pytest.raises(UsageError, match="epsilon must be positive"):
        value(name, affine(torch.eye(3)), epsilon=0.0)
