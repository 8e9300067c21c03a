import math

import pytest
import torch

from synthct.data.errors import UsageError
from synthct.tasks.fields.derivatives import determinant


@pytest.mark.parametrize("plane", [(0, 1), (0, 2), (1, 2)])
def test_rotations_are_free_however_large(value, affine, rotation, plane):
    assert value("log_jacobian", affine(rotation(1.2, plane))) == pytest.approx(0, abs=1e-12)


def test_a_stretch_counts_its_volume_ratio(value, affine):
    assert value("log_jacobian", affine(1.2 * torch.eye(3))) == pytest.approx(
        (3 * math.log(1.2)) ** 2, rel=1e-6
    )


def test_a_sheared_volume_is_the_determinant(value, affine):
    matrix = torch.tensor([[1.1, 0.3, 0.0], [0.0, 0.9, 0.2], [0.1, 0.0, 1.2]])
    expected = math.log(torch.linalg.det(matrix).item()) ** 2
    assert value("log_jacobian", affine(matrix)) == pytest.approx(expected, rel=1e-5)


def test_half_the_volume_is_as_bad_as_twice(value, affine):
    half, twice = torch.diag(torch.tensor([0.5, 1, 1])), torch.diag(torch.tensor([1, 2.0, 1]))
    assert value("log_jacobian", affine(half)) == pytest.approx(math.log(2) ** 2)
    assert value("log_jacobian", affine(twice)) == pytest.approx(math.log(2) ** 2)


def test_a_fold_counts_as_the_floor_not_as_nan(value, affine):
    mirror = torch.diag(torch.tensor([-1.0, 1, 1]))
    assert value("log_jacobian", affine(mirror)) == pytest.approx(math.log(1e-3) ** 2)
    assert value("log_jacobian", affine(mirror), floor=0.1) == pytest.approx(math.log(0.1) ** 2)


def test_volume_is_kept_and_motion_is_not_smoothed_away(denoise):
    """The paper's claim: incompressible motion without suppressing motion."""
    rng = torch.Generator().manual_seed(1)
    u = 0.1 * torch.randn((1, 3, 4, 5, 6), generator=rng, dtype=torch.float64)
    found = denoise("log_jacobian", u, weight=10.0)
    spread = lambda v: (determinant(v, (3.0, 1.0, 0.5)) - 1).square().mean().sqrt()  # noqa: E731
    assert spread(found) < 0.05 * spread(u)
    assert found.square().mean() > 0.4 * u.square().mean()


@pytest.mark.parametrize("floor", [0.0, 1.0])
def test_a_floor_that_is_no_floor_is_refused(value, affine, floor):
    with pytest.raises(UsageError, match="floor must be between 0 and 1"):
        value("log_jacobian", affine(torch.eye(3)), floor=floor)
