"""A volume is valid once constructed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from synthct.data.errors import DataError
from synthct.data.volume import Displacement, Grid, Modality, Volume


def test_points_by_hand():
    """Array axis 0 runs along -z: index 2 lies 2 x 3 mm below the origin."""
    grid = Grid((4, 5, 6), (3.0, 2.0, 1.0), (10.0, 20.0, 30.0),
                ((-1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)))  # fmt: skip
    assert grid.points(np.array([2, 1, 1])).tolist() == [4.0, 22.0, 31.0]
    assert grid.voxel_mm3 == 6.0
    assert grid.extent_mm == (12.0, 10.0, 6.0)
    assert grid.centre_mm == (10 - 4.5, 20 + 4.0, 30 + 2.5)


@given(st.tuples(*[st.floats(-180, 180)] * 3), st.tuples(*[st.floats(0.2, 9)] * 3))
def test_index_undoes_points(angles, spacing):
    matrix = Rotation.from_euler("zyx", angles, degrees=True).as_matrix()
    grid = Grid((5, 6, 7), spacing, (1.0, -2.0, 3.0), tuple(map(tuple, matrix)))
    index = np.array([[0.0, 0, 0], [4, 5, 6], [1.5, 2.25, -3]])
    assert np.allclose(grid.index(grid.points(index)), index, atol=1e-9)


@given(st.tuples(*[st.integers(3, 40)] * 3), st.tuples(*[st.floats(0.3, 4)] * 3))
def test_resizing_keeps_the_middle(shape, spacing):
    grid = Grid(shape, (1.0, 2.0, 3.0), (5.0, 6.0, 7.0))
    other = grid.with_spacing(spacing)
    assert np.allclose(other.centre_mm, grid.centre_mm, atol=1e-9)
    apart = np.abs(np.asarray(other.extent_mm) - np.asarray(grid.extent_mm))
    assert (apart <= np.maximum(0.5 * np.asarray(spacing) + 1e-9, spacing)).all()


def test_a_crop_stays_in_its_place(oblique):
    part = oblique.crop((2, 3, 4), (7, 9, 12))
    assert np.array_equal(part.array, oblique.array[2:7, 3:9, 4:12])
    assert np.allclose(part.grid.origin_mm, oblique.grid.points(np.array([2, 3, 4])))


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"shape": (4, 5)}, "not-3d"),
        ({"shape": (4, 0, 5)}, "not-3d"),
        ({"spacing_mm": (1.0, 0.0, 1.0)}, "spacing-not-positive"),
        ({"spacing_mm": (1.0, -1.0, 1.0)}, "spacing-not-positive"),
        ({"origin_mm": (0.0, float("nan"), 0.0)}, "grid-nan"),
        ({"direction": ((1.0, 0.1, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))}, "direction-skewed"),
    ],
)
def test_impossible_grids_are_refused(change, code):
    with pytest.raises(DataError) as caught:
        Grid(**{"shape": (4, 5, 6), "spacing_mm": (1.0, 1.0, 1.0)} | change)
    assert caught.value.code == code


def test_voxels_cannot_be_changed_in_place(oblique):
    with pytest.raises(ValueError, match="read-only"):
        oblique.array[0, 0, 0] = 1


def test_shapes_and_types_that_do_not_fit_are_refused(oblique):
    with pytest.raises(DataError, match="shape of its grid"):
        Volume(np.zeros((2, 3, 4)), oblique.grid, Modality.CT)
    with pytest.raises(DataError, match="real numbers"):
        Volume(np.zeros(oblique.grid.shape, complex), oblique.grid, Modality.CT)
    with pytest.raises(DataError, match="three components"):
        Displacement(np.zeros((2, *oblique.grid.shape), np.float32), oblique.grid)
