import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from synthct.data.errors import UsageError
from synthct.tasks.regularization import REGULARIZERS

SPACING = (2.0, 1.5, 1.0)


def noise(shape=(3, 4, 4), amplitude=0.2):
    rng = torch.Generator().manual_seed(0)
    return amplitude * torch.randn((1, 3, *shape), generator=rng, dtype=torch.float64)


def test_affine_motion_is_free_though_total_variation_counts_it(value, affine):
    u = affine([[1.4, 0.2, -0.3], [0.5, 0.7, 0.1], [-0.2, 0.6, 1.2]])
    assert value("infimal_convolution", u) == pytest.approx(0, abs=1e-12)
    assert value("total_variation", u) > 0.1


def test_it_is_at_most_either_of_its_parts(value):
    u = noise()
    found = value("infimal_convolution", u, SPACING, smooth_mm=1.5)
    assert found < value("total_variation", u, SPACING, coupled=True, epsilon=0.05)
    assert found < 1.5**2 * value("bending", u, SPACING)


def test_the_split_is_as_good_as_scipy_finds_it(value):
    u = noise((3, 3, 3))
    jumps = REGULARIZERS.build("total_variation", {"coupled": True, "epsilon": 0.05})
    smooth = REGULARIZERS.build("bending", {})

    def cost(flat):
        v = torch.from_numpy(flat).view_as(u).requires_grad_()
        total = jumps.displacement(u - v, SPACING) + 1.5**2 * smooth.displacement(v, SPACING)
        (slope,) = torch.autograd.grad(total, [v])
        return total.item(), slope.numpy().ravel()

    start = np.zeros(u.numel())
    options = {"maxiter": 2000, "ftol": 1e-15, "gtol": 1e-10, "maxcor": 50}
    best = minimize(cost, start, jac=True, method="L-BFGS-B", options=options).fun
    found = value("infimal_convolution", u, SPACING, smooth_mm=1.5)
    assert found == pytest.approx(best, rel=1e-6)


def test_bending_and_sliding_together_cost_less_than_by_either_alone(field, value):
    """The claim of an infimal convolution: each part has its own penalty."""

    def sample(bend, slide):
        return field(lambda z, y, x: [0.02 * bend * x**2 + slide * (x > 5), 0 * x, 0 * x],
                     (3, 3, 12), SPACING)  # fmt: skip

    both = value("infimal_convolution", sample(1, 1), SPACING)
    tv = value("total_variation", sample(1, 1), SPACING, coupled=True, epsilon=0.05)
    bending = 10.0**2 * value("bending", sample(1, 1), SPACING)
    assert both < 0.7 * min(tv, bending)


def test_the_smooth_part_has_no_step(field):
    u = field(lambda z, y, x: [0.1 * x + 1.0 * (x > 5), 0 * x, 0 * x], (3, 3, 12), SPACING)
    member = REGULARIZERS.build("infimal_convolution", {"smooth_mm": 30.0})
    slope = torch.diff(member.smooth_part(u, SPACING)[0, 0, 1, 1])
    assert slope.tolist() == pytest.approx([0.1] * 11, abs=0.03)


@pytest.mark.parametrize("options", [{"smooth_mm": 0.0}, {"epsilon": 0.0}, {"iterations": 0}])
def test_impossible_options_are_refused(value, affine, options):
    with pytest.raises(UsageError, match="must be"):
        value("infimal_convolution", affine(torch.eye(3)), **options)
