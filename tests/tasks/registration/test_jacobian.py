import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthct.data.volume import Displacement, Grid
from synthct.tasks.fields.jacobian import deformation_quality, jacobian_determinant, strain
from synthct.tasks.fields.slabs import slabs

SPACING = (3.0, 1.0, 0.5)
EVERYWHERE = np.ones((5, 6, 7), bool)


def affine_field(matrix, shape=(5, 6, 7), spacing=SPACING, direction=None):
    """u(x) = (matrix - I) x."""
    grid = Grid(shape, spacing, (-4.0, 7.0, 1.0), **({} if direction is None else direction))
    points = grid.points(np.moveaxis(np.indices(shape), 0, -1))
    u = points @ (np.asarray(matrix) - np.eye(3)).T
    return Displacement(np.moveaxis(u, -1, 0).astype(np.float32), grid)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.floats(-0.4, 0.4), min_size=9, max_size=9),
    st.tuples(*[st.floats(0.5, 5)] * 3),
)
def test_every_affine_map_is_exact_whatever_the_spacing(entries, spacing):
    matrix = np.eye(3) + np.reshape(entries, (3, 3))
    found = jacobian_determinant(affine_field(matrix, spacing=spacing))
    np.testing.assert_allclose(found, np.linalg.det(matrix), atol=2e-4)


def test_an_oblique_grid_does_not_change_the_determinant():
    c, s = np.cos(0.4), np.sin(0.4)
    rows = ((c, -s, 0.0), (s, c, 0.0), (0.0, 0.0, 1.0))
    matrix = np.array([[1.1, 0.3, 0.0], [0.0, 0.9, 0.2], [0.1, 0.0, 1.2]])
    found = jacobian_determinant(affine_field(matrix, direction={"direction": rows}))
    np.testing.assert_allclose(found, np.linalg.det(matrix), atol=1e-4)


def test_slabs_leave_no_seam(monkeypatch):
    monkeypatch.setitem(slabs.__kwdefaults__, "voxels", 3 * 4 * 5)
    rng = np.random.default_rng(0)
    grid = Grid((11, 4, 5), SPACING)
    field = Displacement(rng.normal(size=(3, *grid.shape)).astype(np.float32), grid)
    u = field.vectors.astype(float)
    gradient = np.stack(np.gradient(u, *SPACING, axis=(1, 2, 3)))
    whole = np.linalg.det(np.einsum("aizyx->zyxia", gradient) + np.eye(3))
    np.testing.assert_allclose(jacobian_determinant(field), whole, atol=1e-9)


def test_a_mirror_folds_everywhere():
    quality = deformation_quality(affine_field(np.diag([-1.0, 1.0, 1.0])), np.ones((5, 6, 7)))
    assert quality.folding_percent == 100.0


def test_uniform_stretch_is_smooth_and_its_determinant_is_the_volume_ratio():
    quality = deformation_quality(affine_field(np.diag([1.2, 1.0, 0.5])), np.ones((5, 6, 7)))
    assert quality.folding_percent == 0.0
    assert quality.determinant_p01 == pytest.approx(0.6, abs=1e-4)
    assert quality.sd_log_jacobian == pytest.approx(0.0, abs=1e-4)


def test_half_stretched_half_still_has_the_log_ratio_as_spread():
    # det is 1 in the front half and 1.5 behind, away from the seam: SD of the log is ln(1.5) / 2.
    grid = Grid((20, 4, 4), (2.0, 1.0, 1.0))
    z = np.arange(20) * 2.0
    u = np.zeros((3, *grid.shape), np.float32)
    u[0] = np.where(z < 20, 0, 0.5 * (z - 20))[:, None, None]
    mask = np.ones(grid.shape)
    mask[9:12] = 0
    mask[:1] = 0
    quality = deformation_quality(Displacement(u, grid), mask)
    assert quality.sd_log_jacobian == pytest.approx(np.log(1.5) / 2, abs=0.002)


def test_lengths_are_millimetres_inside_the_mask_only():
    grid = Grid((3, 3, 3), SPACING)
    u = np.zeros((3, 3, 3, 3), np.float32)
    u[:, 0] = np.array([3.0, 4.0, 12.0])[:, None, None]
    u[:, 2] = 1000.0
    mask = np.zeros(grid.shape)
    mask[:2] = 1
    quality = deformation_quality(Displacement(u, grid), mask)
    assert quality.max_mm == pytest.approx(13.0)
    assert quality.mean_mm == pytest.approx(6.5)


def test_an_empty_mask_is_an_error_not_a_nan():
    with pytest.raises(ValueError, match="mask"):
        deformation_quality(affine_field(np.eye(3)), np.zeros((5, 6, 7)))


def test_a_rigid_motion_strains_nothing_however_far():
    c, s = np.cos(1.2), np.sin(1.2)
    matrix = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
    np.testing.assert_allclose(strain(affine_field(matrix), EVERYWHERE), 0.0, atol=1e-5)


def test_a_stretch_strains_by_its_hand_value():
    """F = diag(1, 1, 1.1): (1.1^2 - 1) / 2."""
    stretched = affine_field(np.diag([1.0, 1.0, 1.1]))
    np.testing.assert_allclose(strain(stretched, EVERYWHERE), 0.105, atol=1e-5)
