import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from synthct.data.volume import Displacement, Grid
from synthct.tasks.registration.results import mean_error_mm, rigid_part

GRID = Grid((5, 6, 7), (3.0, 1.0, 2.0), (10.0, -20.0, 5.0))
INSIDE = np.ones(GRID.shape)


def rigid_field(rotation, shift):
    points = GRID.points(np.moveaxis(np.indices(GRID.shape), 0, -1))
    u = points @ np.asarray(rotation).T + np.asarray(shift) - points
    return Displacement(np.moveaxis(u, -1, 0).astype(np.float32), GRID)


def test_mean_error_by_hand():
    zero = Displacement(np.zeros((3, *GRID.shape), np.float32), GRID)
    u = np.zeros((3, *GRID.shape), np.float32)
    u[:, 0] = np.array([2.0, 3.0, 6.0])[:, None, None]
    mask = np.zeros(GRID.shape)
    mask[:2] = 1
    assert mean_error_mm(zero, Displacement(u, GRID), mask) == pytest.approx(3.5)


@settings(max_examples=25, deadline=None)
@given(
    st.tuples(*[st.floats(-170, 170)] * 3),
    st.tuples(*[st.floats(-50, 50)] * 3),
)
def test_a_rigid_motion_is_its_own_rigid_part(angles_deg, shift):
    field = rigid_field(Rotation.from_euler("xyz", angles_deg, degrees=True).as_matrix(), shift)
    assert mean_error_mm(rigid_part(field, INSIDE), field, INSIDE) < 1e-3


def test_a_mirror_is_not_mistaken_for_a_rotation():
    field = rigid_field(np.diag([1.0, 1.0, -1.0]), (0, 0, 0))
    assert mean_error_mm(rigid_part(field, INSIDE), field, INSIDE) > 1.0


def test_a_stretch_about_the_centre_has_no_rigid_part():
    points = GRID.points(np.moveaxis(np.indices(GRID.shape), 0, -1))
    u = np.moveaxis(0.1 * (points - points.mean(axis=(0, 1, 2))), -1, 0).astype(np.float32)
    assert np.abs(rigid_part(Displacement(u, GRID), INSIDE).vectors).max() < 1e-4
