"""One orientation for all: voxels keep their place, and their value where nothing must be mixed."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from synthct.data.volume import Grid, Modality, Volume
from synthct.tasks.ingestion.canonical import canonical

SHAPE = (3, 4, 5)
VALUES = np.arange(60, dtype=np.int16).reshape(SHAPE)


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_flips_and_permutations_move_no_voxel(order):
    for signs in product((1.0, -1.0), repeat=3):
        matrix = np.zeros((3, 3))
        for axis, (world, sign) in enumerate(zip(order, signs, strict=True)):
            matrix[world, axis] = sign
        rows = tuple(map(tuple, matrix))
        volume = Volume(VALUES, Grid(SHAPE, (1.0, 2.0, 3.0), (7.0, 8.0, 9.0), rows), Modality.CT)
        turned, resampled = canonical(volume)
        assert not resampled
        assert np.array_equal(turned.grid.direction, np.eye(3))
        for index in np.ndindex(SHAPE):
            there = turned.grid.index(volume.grid.points(np.array(index)))
            assert turned.array[tuple(np.rint(there).astype(int))] == volume.array[index]
            assert np.abs(there - np.rint(there)).max() < 1e-9


def test_an_oblique_scan_is_turned_straight_and_covers_all_of_itself():
    """A linear ramp in space is still that ramp after resampling: linear interpolation is exact."""
    matrix = Rotation.from_euler("zyx", [8, -5, 20], degrees=True).as_matrix()
    grid = Grid((14, 20, 24), (3.0, 2.0, 1.5), (5.0, 6.0, 7.0), tuple(map(tuple, matrix)))
    points = grid.points(np.moveaxis(np.indices(grid.shape), 0, -1))
    ramp = points @ np.array([2.0, -1.0, 0.5])
    turned, resampled = canonical(Volume(ramp.astype(np.float32), grid, Modality.MR))
    assert resampled
    assert np.array_equal(turned.grid.direction, np.eye(3))
    assert sorted(turned.grid.spacing_mm) == [1.5, 2.0, 3.0]
    here = turned.grid.points(np.argwhere(np.ones(turned.array.shape, bool)))
    there = grid.index(here)
    inside = ((there > 0) & (there < np.asarray(grid.shape) - 1)).all(axis=1)
    assert inside.sum() > 0.6 * ramp.size
    apart = turned.array.ravel()[inside] - here[inside] @ np.array([2.0, -1.0, 0.5])
    assert np.abs(apart).max() < 1e-3
    index = turned.grid.index(points.reshape(-1, 3))
    assert (index >= -1e-6).all()
    assert (index <= np.asarray(turned.grid.shape) - 1 + 1e-6).all()


def test_outside_an_oblique_ct_is_air_and_labels_are_not_mixed():
    matrix = Rotation.from_euler("z", 30, degrees=True).as_matrix()
    grid = Grid((6, 20, 20), (3.0, 2.0, 2.0), direction=tuple(map(tuple, matrix)))
    ct, _ = canonical(Volume(np.full(grid.shape, 50, np.int16), grid, Modality.CT))
    assert ct.array.min() == -1024
    labels = np.random.default_rng(0).choice([0, 7], grid.shape).astype(np.uint8)
    turned, _ = canonical(Volume(labels, grid, Modality.LABELS))
    assert set(np.unique(turned.array)) == {0, 7}


def test_rounding_of_the_direction_does_not_cost_a_resampling():
    direction = ((1.0, 0.0, 1e-5), (0.0, 1.0, 0.0), (-1e-5, 0.0, 1.0))
    volume = Volume(VALUES, Grid(SHAPE, (1.0, 2.0, 3.0), direction=direction), Modality.CT)
    turned, resampled = canonical(volume)
    assert not resampled
    assert np.array_equal(turned.array, VALUES)
    assert np.abs(np.asarray(turned.grid.centre_mm) - volume.grid.centre_mm).max() < 1e-9
