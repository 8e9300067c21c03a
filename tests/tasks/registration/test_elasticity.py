import pytest
import torch

from synthct.tasks.fields.elasticity import Material, energy, strain, unbalanced_force

SPACING = (3.0, 1.0, 0.5)


@pytest.fixture
def u():
    rng = torch.Generator().manual_seed(0)
    return torch.randn((1, 3, 4, 5, 6), generator=rng, dtype=torch.float64)


def test_lame_parameters_by_hand():
    material = Material(young=3.0, poisson=0.25)
    assert material.shear == pytest.approx(1.2)
    assert material.dilation == pytest.approx(1.2)


def test_the_energy_is_half_stress_times_strain(u):
    material = Material(2.0, 0.3)
    e = strain(u, SPACING)
    rows = [
        [e.stretch[0], e.shear[0], e.shear[1]],
        [e.shear[0], e.stretch[1], e.shear[2]],
        [e.shear[1], e.shear[2], e.stretch[2]],
    ]
    matrix = torch.stack([torch.stack(row, -1) for row in rows], -2)
    trace = matrix.diagonal(dim1=-2, dim2=-1).sum(-1)[..., None, None]
    stress = 2 * material.shear * matrix + material.dilation * trace * torch.eye(3)
    expected = (stress * matrix).sum((-2, -1)) / 2
    torch.testing.assert_close(energy(u, SPACING, material, None), expected)


@pytest.mark.parametrize("stiff", [False, True])
def test_the_force_is_minus_the_slope_of_the_stored_energy(u, stiff):
    material = Material(1.0, 0.4)
    rng = torch.Generator().manual_seed(1)
    tissue = torch.rand((1, 1, 4, 5, 6), generator=rng, dtype=u.dtype) + 0.5 if stiff else None
    u.requires_grad_()
    (slope,) = torch.autograd.grad(energy(u, SPACING, material, tissue).sum(), [u])
    force = unbalanced_force(u, SPACING, material, tissue)
    torch.testing.assert_close(force, -slope[..., 1:-1, 1:-1, 1:-1])
