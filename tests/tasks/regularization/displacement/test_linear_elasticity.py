import math

import pytest
import torch

from synthct.data.errors import UsageError

MU, LAMBDA = 1 / 2.8, 0.4 / (1.4 * 0.2)
"""E = 1, nu = 0.4."""


@pytest.mark.parametrize("plane", [(0, 1), (0, 2), (1, 2)])
@pytest.mark.parametrize("angle", [0.05, 0.8])
def test_a_rotation_by_hand(value, affine, rotation, plane, angle):
    found = value("linear_elasticity", affine(rotation(angle, plane)))
    assert found == pytest.approx(2 * (MU + LAMBDA) * (1 - math.cos(angle)) ** 2, rel=1e-4)


def test_halving_the_angle_divides_it_by_sixteen(value, affine, rotation):
    ratio = value("linear_elasticity", affine(rotation(0.2))) / value(
        "linear_elasticity", affine(rotation(0.1))
    )
    assert ratio == pytest.approx(16, rel=0.01)


@pytest.mark.parametrize("cell", [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)])
def test_a_pure_shear_stores_half_mu_gamma_squared(value, affine, cell):
    matrix = torch.eye(3)
    matrix[cell] = 0.3
    found = value("linear_elasticity", affine(matrix))
    assert found == pytest.approx(MU * 0.3**2 / 2, rel=1e-6)


def test_a_uniform_stretch_by_hand(value, affine):
    found = value("linear_elasticity", affine(1.1 * torch.eye(3)))
    assert found == pytest.approx(3 * MU * 0.1**2 + LAMBDA / 2 * 0.3**2, rel=1e-6)


def test_it_is_linear_in_the_stiffness(value, affine):
    u = affine(1.1 * torch.eye(3))
    tissue = torch.ones((1, 1, *u.shape[2:]), dtype=u.dtype)
    tissue[:, :, :2] = 10.0  # two of the three cells along z
    stiff = value("linear_elasticity", u, tissue=tissue)
    assert stiff == pytest.approx(7 * value("linear_elasticity", u), rel=1e-9)
    assert value("linear_elasticity", u, young=3.0) == pytest.approx(
        3 * value("linear_elasticity", u)
    )


def test_bone_keeps_its_shape_and_soft_tissue_gives(denoise, field):
    """The claim of a stiffness map: pulled apart everywhere, the stiff half strains less."""
    pulled = field(lambda z, y, x: [0 * x, 0 * x, 0.2 * x], (3, 3, 16))
    tissue = torch.ones((1, 1, 3, 3, 16), dtype=pulled.dtype)
    tissue[..., 8:] = 100.0
    found = denoise("linear_elasticity", pulled, 1.0, tissue=tissue)
    slope = torch.diff(found[0, 2, 1, 1]) / 0.5
    assert slope[10:14].abs().max() < 0.05
    assert slope[:5].mean() > 0.1


@pytest.mark.parametrize("options", [{"young": 0.0}, {"poisson": 0.5}, {"poisson": -1.0}])
def test_no_such_solid_exists(value, affine, options):
    with pytest.raises(UsageError, match="must"):
        value("linear_elasticity", affine(torch.eye(3)), **options)


def test_a_stiffness_map_of_another_grid_is_refused(value, affine):
    with pytest.raises(ValueError, match=r"stiffness must be \(B, 1, Z, Y, X\)"):
        value("linear_elasticity", affine(torch.eye(3)), tissue=torch.ones((1, 1, 3, 3, 3)))
