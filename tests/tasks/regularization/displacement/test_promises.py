"""The contract of penalties on displacements; a new one is tested as soon as it is registered."""

import math
from dataclasses import fields, replace

import pytest
import torch

from synthct.tasks.regularization import REGULARIZERS
from synthct.tasks.regularization.base import seams_of

NAMES = [n for n, cls in REGULARIZERS.items() if "displacement" in seams_of(cls)]
OPTIONS = {
    "biomechanics": [{"form": "equilibrium"}],
    "folding": [{"margin": 0.9}],
    "infimal_convolution": [{"smooth_mm": 2.0}],
    "sparse_displacement_l0": [{"grouped": False}],
    "sparse_displacement_l1": [{"grouped": False}],
    "total_variation": [{"coupled": True}],
}
VARIANTS = [(n, o) for n in NAMES for o in [{}, *OPTIONS.get(n, [])]]
SPACING = (2.0, 1.5, 1.0)


def label(variant):
    return "-".join([variant[0], *variant[1]])


def sees_only_derivatives(name):
    cls = REGULARIZERS.get(name)
    return not getattr(cls, "penalises_translation", False) and not hasattr(cls, "needs_inverse")


OF_DERIVATIVES = [v for v in VARIANTS if sees_only_derivatives(v[0])]


@pytest.fixture(params=VARIANTS, ids=label)
def member(request):
    name, options = request.param
    return REGULARIZERS.build(name, options)


def evaluate(member, u, spacing=SPACING, inverse=None, tissue=None):
    """A member that compares two displacements is given a fixed distortion of -u besides."""
    if getattr(member, "needs_inverse", False):
        inverse = -0.9 * u.flip(0) if inverse is None else inverse
        return member.displacement(u, spacing, tissue, inverse=inverse)
    return member.displacement(u, spacing, tissue)


def uneven(batch=2, shape=(4, 3, 5), seed=3, amplitude=0.1):
    rng = torch.Generator().manual_seed(seed)
    return amplitude * torch.randn((batch, 3, *shape), generator=rng, dtype=torch.float64)


def shift(*mm, shape=(4, 3, 5)):
    return torch.tensor(mm, dtype=torch.float64).view(1, 3, 1, 1, 1).expand(1, 3, *shape).clone()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_finite_and_not_negative(member, dtype):
    u = uneven(amplitude=1.0).to(dtype).requires_grad_()
    found = evaluate(member, u)
    (slope,) = torch.autograd.grad(found, [u])
    assert found.shape == ()
    assert found.dtype == dtype
    assert found >= 0
    assert torch.isfinite(found)
    assert torch.isfinite(slope).all()


def test_rest_is_free_and_its_slope_is_finite(member):
    u = torch.zeros((1, 3, 3, 4, 3), dtype=torch.float64, requires_grad=True)
    found = evaluate(member, u)
    (slope,) = torch.autograd.grad(found, [u], allow_unused=True, materialize_grads=True)
    assert found == 0
    assert torch.isfinite(slope).all()


def test_a_translation_is_free_unless_motion_itself_is_penalised(member):
    u = shift(3.0, -7.0, 0.5)
    found = evaluate(member, u, inverse=-u)
    if getattr(member, "penalises_translation", False):
        assert found > 0
    else:
        assert found == pytest.approx(0, abs=1e-24)


def test_the_same_twice_is_the_same_to_the_bit(member):
    first = evaluate(member, uneven())
    torch.rand(7)  # somebody else draws from the global generator
    assert torch.equal(first, evaluate(member, uneven()))


def test_the_given_displacement_is_not_changed(member):
    u = uneven()
    evaluate(member, u)
    assert torch.equal(u, uneven())


def test_a_batch_counts_as_the_mean_of_its_samples(member):
    u, v = uneven(), uneven(seed=4)
    both = evaluate(member, u, inverse=v)
    twice = evaluate(member, torch.cat([u, u]), inverse=torch.cat([v, v]))
    torch.testing.assert_close(twice, both, rtol=1e-6, atol=1e-12)


def test_the_gradient_is_the_derivative(member):
    u = uneven(batch=1, shape=(3, 3, 4)).requires_grad_()
    if getattr(member, "needs_inverse", False):
        v = uneven(batch=1, shape=(3, 3, 4), seed=4).requires_grad_()
        both = lambda a, b: evaluate(member, a, inverse=b)  # noqa: E731
        assert torch.autograd.gradcheck(both, [u, v], fast_mode=True)
    else:
        assert torch.autograd.gradcheck(lambda a: evaluate(member, a), [u], fast_mode=True)


def in_other_units(member, factor):
    scaled = {
        f.name: getattr(member, f.name) * factor for f in fields(member) if f.name.endswith("_mm")
    }
    return replace(member, **scaled)


def test_another_unit_of_length_multiplies_by_a_whole_power(member):
    """Everything in mm times s: the value is multiplied by s^k, with one whole k for every s."""
    u = uneven()
    once = evaluate(member, u).item()
    if once == 0:
        u = 20 * u  # folding: nothing folds in a small field
        once = evaluate(member, u).item()
    grown = {
        s: evaluate(in_other_units(member, s), s * u, tuple(s * h for h in SPACING)).item()
        for s in (2.0, 10.0)
    }
    power = math.log2(grown[2.0] / once)
    assert power == pytest.approx(round(power), abs=1e-5)
    assert grown[10.0] == pytest.approx(once * 10 ** round(power), rel=1e-5)


@pytest.mark.parametrize("order", [(1, 0, 2), (1, 2, 0)], ids=str)
def test_no_axis_is_special(member, order):
    """Axes, components and spacing permuted together: a mixed-up component order shows here."""
    turn = lambda f: f[:, list(order)].permute(0, 1, *(2 + a for a in order))  # noqa: E731
    u, v = uneven(), uneven(seed=4)
    there = evaluate(member, turn(u), tuple(SPACING[a] for a in order), inverse=turn(v))
    torch.testing.assert_close(there, evaluate(member, u, inverse=v), rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("member", OF_DERIVATIVES, ids=label, indirect=True)
def test_an_affine_map_counts_the_same_however_finely_it_is_sampled(member, affine):
    matrix = [[1.1, 0.2, -0.3], [0.05, 0.8, 0.1], [0.2, -0.1, 1.3]]
    coarse = evaluate(member, affine(matrix, spacing=(3.0, 1.0, 0.5)), (3.0, 1.0, 0.5))
    fine = evaluate(member, affine(matrix, (7, 4, 3), (0.5, 0.7, 0.9)), (0.5, 0.7, 0.9))
    torch.testing.assert_close(fine, coarse, rtol=1e-9, atol=1e-18)


def test_tissue_that_is_one_everywhere_changes_nothing(member):
    u = uneven()
    ones = torch.ones((2, 1, *u.shape[2:]), dtype=u.dtype)
    assert torch.equal(evaluate(member, u, tissue=ones), evaluate(member, u))


def test_a_field_of_the_wrong_form_is_refused(member):
    for shape in [(3, 4, 4, 4), (1, 2, 4, 4, 4)]:
        with pytest.raises(ValueError, match=r"\(B, 3, Z, Y, X\)"):
            evaluate(member, torch.zeros(shape), inverse=torch.zeros(shape))
