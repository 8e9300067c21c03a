import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from synthct.data.volume import Displacement, Grid
from synthct.tasks.fields.derivatives import (
    determinant,
    divergence,
    edges,
    gradient,
    laplacian,
    second,
)
from synthct.tasks.fields.jacobian import jacobian_determinant

SPACING = (3.0, 1.0, 0.5)


def affine_field(change, shape=(4, 5, 6), spacing=SPACING):
    axes = [torch.arange(n, dtype=torch.float64) * h for n, h in zip(shape, spacing, strict=True)]
    points = torch.stack(torch.meshgrid(*axes, indexing="ij"))
    matrix = torch.as_tensor(change, dtype=torch.float64)
    return torch.einsum("ij,jzyx->izyx", matrix, points)[None]


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.floats(-0.9, 0.9), min_size=9, max_size=9),
    st.tuples(*[st.floats(0.3, 5)] * 3),
)
def test_affine_maps_are_exact_up_to_the_border(entries, spacing):
    change = torch.tensor(entries, dtype=torch.float64).view(3, 3)
    u = affine_field(change, spacing=spacing)
    for axis, slope in enumerate(gradient(u, spacing)):
        expected = change[:, axis].view(1, 3, 1, 1, 1).expand(1, 3, 3, 4, 5)
        torch.testing.assert_close(slope, expected, rtol=0, atol=1e-10)
        assert (edges(u, axis, spacing) - change[:, axis].view(1, 3, 1, 1, 1)).abs().max() < 1e-10
    whole = torch.eye(3, dtype=torch.float64) + change
    assert (determinant(u, spacing) - torch.linalg.det(whole)).abs().max() < 1e-9
    assert (divergence(u, spacing) - change.trace()).abs().max() < 1e-10
    assert laplacian(u, spacing).abs().max() < 1e-8


def test_second_derivatives_of_a_quadratic_are_exact():
    z, y, x = affine_field(torch.eye(3))[0]
    u = torch.stack([z * z / 2, z * y, y * x + x * x])[None]
    of = lambda a, b: second(u, a, b, SPACING)[0].flatten(1).mean(1).tolist()  # noqa: E731
    assert of(0, 0) == pytest.approx([1, 0, 0])
    assert of(0, 1) == pytest.approx([0, 1, 0])
    assert of(1, 2) == pytest.approx([0, 0, 1])
    assert of(2, 2) == pytest.approx([0, 0, 2])
    assert laplacian(u, SPACING)[0].flatten(1).mean(1).tolist() == pytest.approx([1, 0, 2])


def test_the_determinant_agrees_with_numpy_cell_by_cell():
    rng = torch.Generator().manual_seed(0)
    u = torch.randn((2, 3, 4, 5, 6), generator=rng, dtype=torch.float64)
    columns = torch.stack(gradient(u, SPACING), dim=2)
    matrix = columns.permute(0, 3, 4, 5, 1, 2).numpy() + np.eye(3)
    np.testing.assert_allclose(determinant(u, SPACING), np.linalg.det(matrix), atol=1e-10)


def test_it_agrees_with_the_gate_on_what_both_see():
    """Central differences there, forward ones here: the same on an affine map."""
    u = affine_field([[0.2, 0.1, 0.0], [-0.1, 0.1, 0.3], [0.0, 0.2, -0.1]])
    grid = Grid((4, 5, 6), SPACING)
    gate = jacobian_determinant(Displacement(u[0].numpy().astype(np.float32), grid))
    np.testing.assert_allclose(determinant(u, SPACING)[0], gate[:-1, :-1, :-1], atol=1e-5)


def test_a_checkerboard_is_seen_as_rough():
    """Central differences would call it constant."""
    z, y, x = np.indices((4, 4, 4))
    u = torch.from_numpy((-1.0) ** (z + y + x)).expand(1, 3, 4, 4, 4)
    assert all((slope.abs() == 2 / h).all() for slope, h in zip(gradient(u, SPACING), SPACING))  # noqa: B905


@pytest.mark.parametrize("shape", [(3, 4, 4, 4), (1, 2, 4, 4, 4), (1, 3, 1, 4, 4)])
def test_what_is_no_displacement_is_refused(shape):
    with pytest.raises(ValueError, match="a displacement must"):
        gradient(torch.zeros(shape), SPACING)
