import math

import pytest
import torch

from synthct.data.errors import UsageError
from synthct.tasks.regularization import REGULARIZERS


@pytest.fixture
def even(affine):
    return lambda *mm: affine(torch.eye(3), shift=mm)


def test_l0_by_hand(value, even):
    u = even(1.0, 0.0, 2.0)
    assert value("sparse_displacement_l0", u) == pytest.approx(1 - math.exp(-5 / 2))
    assert value("sparse_displacement_l0", u, sigma_mm=2.0) == pytest.approx(1 - math.exp(-5 / 8))
    assert value("sparse_displacement_l0", u, grouped=False) == pytest.approx(
        2 - math.exp(-1 / 2) - math.exp(-2)
    )


def test_l0_counts_voxels_however_far_they_go(value, even):
    for far in (10.0, 1000.0):
        u = even(0.0, far, 0.0)
        u[..., :2, :, :] = 0  # half of the four slices rest
        assert value("sparse_displacement_l0", u) == pytest.approx(0.5)


def test_l1_by_hand(value, even):
    assert value("sparse_displacement_l1", even(3.0, -4.0, 12.0)) == pytest.approx(13.0)
    assert value("sparse_displacement_l1", even(3.0, -4.0, 12.0), grouped=False) == pytest.approx(
        19.0
    )


def test_the_soft_threshold_by_hand(even):
    u = even(3.0, -4.0, 12.0)
    together = REGULARIZERS.build("sparse_displacement_l1", {})
    apart = REGULARIZERS.build("sparse_displacement_l1", {"grouped": False})
    assert together.displacement_prox(u, 6.5)[0, :, 0, 0, 0].tolist() == pytest.approx([1.5, -2, 6])
    assert together.displacement_prox(u, 13.0).abs().max() == 0
    assert apart.displacement_prox(u, 3.5)[0, :, 0, 0, 0].tolist() == pytest.approx([0, -0.5, 8.5])
    assert together.displacement_prox(0 * u, 0.0).abs().max() == 0


@pytest.mark.parametrize("grouped", [True, False])
def test_no_other_point_is_cheaper_than_the_prox(grouped):
    rng = torch.Generator().manual_seed(0)
    u = torch.randn((1, 3, 3, 3, 3), generator=rng, dtype=torch.float64)
    member = REGULARIZERS.build("sparse_displacement_l1", {"grouped": grouped})

    def cost(v):
        return 1.5 * (v - u).square().mean() + 0.7 * member.displacement(v, (3.0, 1.0, 0.5))

    best = member.displacement_prox(u, 0.7)
    for size in (1e-4, 1e-2, 0.3):
        step = size * torch.randn(u.shape, generator=rng, dtype=u.dtype)
        assert cost(best) < cost(best + step)


def test_small_motion_becomes_exactly_none():
    """Claim of arXiv:2302.04065: displacements are sparse, exactly zero where little moves."""
    rng = torch.Generator().manual_seed(0)
    truth = torch.zeros((1, 3, 4, 4, 4), dtype=torch.float64)
    truth[:, :, :2] = 5.0
    noisy = truth + 0.2 * torch.randn(truth.shape, generator=rng, dtype=truth.dtype)
    found = REGULARIZERS.build("sparse_displacement_l1", {}).displacement_prox(noisy, 1.0)
    assert (found[:, :, 2:] == 0).all()
    assert (found[:, :, :2].abs() > 0).all()


def test_l0_does_not_shorten_large_motion_as_l1_does(denoise, even):
    """Claim of arXiv:2502.01889: the smoothed l0 outperforms the l1, which is biased."""
    u = even(0.0, 6.0, 0.0)
    u[..., 2:] = 0.2  # and little motion elsewhere is suppressed by both
    l0 = denoise("sparse_displacement_l0", u, 1.0)
    l1 = REGULARIZERS.build("sparse_displacement_l1", {}).displacement_prox(u, 1.0)
    assert l0[0, 1, 0, 0, 0] == pytest.approx(6.0, abs=0.01)
    assert l1[0, 1, 0, 0, 0] == pytest.approx(5.0)
    assert l0[..., 2:].abs().max() < 0.11


def test_a_scale_of_nothing_is_refused(value, even):
    with pytest.raises(UsageError, match="sigma_mm must be positive"):
        value("sparse_displacement_l0", even(0.0, 0.0, 0.0), sigma_mm=0.0)
