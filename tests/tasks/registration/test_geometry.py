import numpy as np
import pytest
import SimpleITK as sitk

from synthct.data.errors import DataError
from synthct.data.itk import from_itk, resample, to_itk
from synthct.data.volume import Displacement, Grid, Modality, Volume
from synthct.tasks.fields.geometry import (
    displacement_of,
    displacement_on,
    grown,
    in_fixed_frame,
    working_grid,
)

GRID = Grid((12, 14, 16), (3.0, 2.0, 1.5), (-5.0, 4.0, 9.0))


def rigid():
    transform = sitk.Euler3DTransform()
    transform.SetCenter((5.0, 2.0, 1.0))
    transform.SetRotation(0.2, -0.1, 0.3)
    transform.SetTranslation((3.0, -4.0, 2.0))
    return transform


def block(start=(3, 4, 5), stop=(9, 10, 12)):
    mask = np.zeros(GRID.shape, np.uint8)
    mask[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))] = 1
    return Volume(mask, GRID, Modality.MASK)


def test_placing_the_header_equals_resampling_through_the_transform():
    image = Volume(np.random.default_rng(0).normal(size=GRID.shape), GRID, Modality.MR)
    direct = resample(image, GRID, transform=rigid(), outside=0)
    placed = from_itk(in_fixed_frame(to_itk(image), rigid()), Modality.MR)
    np.testing.assert_allclose(resample(placed, GRID, outside=0).array, direct.array, atol=1e-9)


def test_a_displacement_points_from_fixed_to_moving():
    shift = sitk.TranslationTransform(3, (1.0, 2.0, 3.0))  # ITK's x, y, z
    u = displacement_of(shift, GRID).vectors
    np.testing.assert_allclose(u[:, 0, 0, 0], (3.0, 2.0, 1.0))


def test_the_working_grid_is_the_body_and_its_margin():
    grid = working_grid(block(), GRID.spacing_mm, margin_mm=3.0)
    assert grid.shape == (6 + 2, 6 + 4, 7 + 4)
    np.testing.assert_allclose(grid.origin_mm, GRID.points(np.array([2, 2, 3])))


def test_the_working_grid_stays_in_the_box():
    grid = working_grid(block(), GRID.spacing_mm, margin_mm=1000.0)
    assert grid.is_close(GRID)


def test_an_empty_body_and_a_sliver_are_faults_with_a_name():
    with pytest.raises(DataError) as empty:
        working_grid(block((0, 0, 0), (0, 0, 0)), GRID.spacing_mm, 3.0)
    assert empty.value.code == "mask-empty"
    with pytest.raises(DataError) as thin:
        working_grid(block((5, 0, 0), (6, 14, 16)), GRID.spacing_mm, 0.0)
    assert thin.value.code == "extent-too-small"


def test_growing_is_in_millimetres_on_every_axis():
    mask = np.zeros((9, 9, 9))
    mask[4, 4, 4] = 1
    found = grown(mask, (3.0, 2.0, 1.0), 3.0)
    assert found[:, 4, 4].sum() == 3
    assert found[4, :, 4].sum() == 3
    assert found[4, 4, :].sum() == 7


def test_a_linear_field_is_exact_on_another_grid():
    points = GRID.points(np.moveaxis(np.indices(GRID.shape), 0, -1))
    matrix = np.array([[0.1, 0.2, 0.0], [0.0, -0.1, 0.3], [0.2, 0.0, 0.1]])
    field = Displacement(np.moveaxis(points @ matrix.T, -1, 0).astype(np.float32), GRID)
    inner = Grid((4, 5, 6), (2.0, 2.5, 1.0), tuple(GRID.points(np.array([2.5, 1.5, 3.0]))))
    expected = inner.points(np.moveaxis(np.indices(inner.shape), 0, -1)) @ matrix.T
    found = displacement_on(field, inner).vectors
    np.testing.assert_allclose(np.moveaxis(found, 0, -1), expected, atol=1e-4)
