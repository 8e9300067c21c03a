import pytest
import torch

from synthct.data.errors import UsageError
from synthct.tasks.fields.derivatives import determinant

MU, LAMBDA = 1 / 2.98, 0.49 / (1.49 * 0.02)
"""E = 1, nu = 0.49."""


def test_strain_energy_is_linear_elasticity_of_a_nearly_incompressible_solid(value, affine):
    u = affine([[1.1, 0.2, 0.0], [0.0, 0.9, 0.1], [0.3, 0.0, 1.2]])
    found = value("biomechanics", u)
    assert found == pytest.approx(value("linear_elasticity", u, poisson=0.49))
    stretches = 0.1**2 + 0.1**2 + 0.2**2
    shears = 2 * (0.1**2 + 0.05**2 + 0.15**2)
    assert found == pytest.approx(MU * (stretches + shears) + LAMBDA / 2 * 0.2**2)


def test_a_uniform_strain_is_in_equilibrium(value, affine):
    u = affine([[1.1, 0.2, 0.0], [0.0, 0.9, 0.1], [0.3, 0.0, 1.2]])
    assert value("biomechanics", u, form="equilibrium") == pytest.approx(0, abs=1e-20)


@pytest.mark.parametrize(
    ("bend", "force"),
    [
        (lambda z, y, x: [z**2 / 2, 0 * x, 0 * x], 2 * MU + LAMBDA),
        (lambda z, y, x: [0 * x, 0 * x, x**2 / 2], 2 * MU + LAMBDA),
        (lambda z, y, x: [0 * x, z**2 / 2, 0 * x], MU),
        (lambda z, y, x: [y**2 / 2, 0 * x, 0 * x], MU),
        (lambda z, y, x: [z * y, 0 * x, 0 * x], MU + LAMBDA),
    ],
)
def test_the_force_that_keeps_a_quadratic_deformed(value, field, bend, force):
    """Navier-Cauchy: mu lap(u) + (lambda + mu) grad(div u)."""
    found = value("biomechanics", field(bend), form="equilibrium")
    assert found == pytest.approx(force**2)


def test_forces_balance_across_two_materials_where_stress_is_even(value, field, spacing):
    """Springs in a row: half the strain where it is twice as stiff, the same force everywhere."""
    u = field(lambda z, y, x: [0 * x, 0 * x, 0.1 * x - 0.05 * (x - 2).clamp(min=0)], (3, 3, 9))
    tissue = torch.ones((1, 1, 3, 3, 9), dtype=u.dtype)
    tissue[..., 4:] = 2.0
    even = value("biomechanics", u, tissue=tissue, form="equilibrium", poisson=0.0)
    assert even == pytest.approx(0, abs=1e-20)
    assert value("biomechanics", u, form="equilibrium", poisson=0.0) > 1e-4


def test_volume_is_kept_better_than_by_smoothness(denoise):
    """The paper's claim: biomechanical properties are better preserved than by the L2 norm."""
    rng = torch.Generator().manual_seed(1)
    u = 0.3 * torch.randn((1, 3, 5, 6, 7), generator=rng, dtype=torch.float64)

    def volume_and_misfit(name, weight, **options):
        found = denoise(name, u, weight, **options)
        spread = (determinant(found, (3.0, 1.0, 0.5)) - 1).square().mean().sqrt().item()
        return spread, (found - u).square().mean().item()

    prior, misfit = volume_and_misfit("biomechanics", 0.05)
    smooth, smooth_misfit = volume_and_misfit("diffusion", 0.07)
    assert smooth_misfit > misfit  # diffusion changed the motion more, ...
    assert prior < 0.8 * smooth  # ... and yet changed volumes more


def test_an_unknown_form_is_refused(value, affine):
    with pytest.raises(UsageError, match="form: Input should be"):
        value("biomechanics", affine(torch.eye(3)), form="energy")
