"""(z, y, x) turns into ITK's (x, y, z) and back without moving a voxel."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from synthct.data.errors import DataError
from synthct.data.itk import displacement_from_itk, displacement_to_itk, from_itk, resample, to_itk
from synthct.data.volume import Displacement, Grid, Modality, Volume


def test_a_voxel_lies_where_itk_says_it_lies(oblique):
    image = to_itk(oblique)
    for z, y, x in [(0, 0, 0), (11, 19, 25), (3, 7, 20)]:
        theirs = image.TransformIndexToPhysicalPoint((x, y, z))
        ours = oblique.grid.points(np.array([z, y, x]))
        assert np.allclose(theirs[::-1], ours, atol=1e-9)
        assert image[x, y, z] == oblique.array[z, y, x]
    back = from_itk(image, Modality.CT)
    assert np.array_equal(back.array, oblique.array)
    assert back.grid.is_close(oblique.grid, 1e-9)


@pytest.mark.parametrize("dtype", ["?", "f2", ">i2", ">f4", "i8", "u4"])
def test_types_that_itk_lacks_are_turned_into_ones_it_has(oblique, dtype):
    volume = oblique.with_array((oblique.array > 0).astype(dtype))
    assert np.array_equal(sitk.GetArrayFromImage(to_itk(volume)), volume.array.astype(float))


def test_a_displacement_pulls_the_moving_image_as_itk_would(oblique):
    """Hand value: u = +2 mm along z (component 0) takes the voxel 2 mm further up."""
    grid = Grid((6, 5, 4), (1.0, 1.0, 1.0))
    ramp = np.broadcast_to(np.arange(6.0)[:, None, None], grid.shape).astype(np.float32)
    vectors = np.zeros((3, *grid.shape), np.float32)
    vectors[0] = 2.0
    field = displacement_to_itk(Displacement(vectors, grid))
    moved = resample(
        Volume(ramp, grid, Modality.MR), grid,
        transform=sitk.DisplacementFieldTransform(field), outside=-1,
    )  # fmt: skip
    assert moved.array[:, 2, 2].tolist() == [2, 3, 4, 5, -1, -1]
    again = displacement_from_itk(displacement_to_itk(Displacement(vectors, grid)))
    assert np.array_equal(again.vectors, vectors)


def test_interpolated_integers_are_rounded_not_cut():
    """Between 0 and 3, at thirds: 1 and 2; ITK's own cast would give 0 or 1 for -0.6."""
    values = np.array([[[0, 3]], [[-2, 1]]], np.int16)
    grid = Grid((2, 1, 2), (1.0, 1.0, 1.0))
    fine = Grid((2, 1, 4), (1.0, 1.0, 1 / 3))
    moved = resample(Volume(values, grid, Modality.CT), fine, outside=0)
    assert moved.array.dtype == np.int16
    assert moved.array[:, 0].tolist() == [[0, 1, 2, 3], [-2, -1, 0, 1]]
    shifted = Grid((2, 1, 2), (1.0, 1.0, 1 / 3), (0.0, 0.0, 0.3))
    assert resample(Volume(values, grid, Modality.CT), shifted, outside=0).array[1, 0, 0] == -1


def test_labels_are_never_mixed():
    grid = Grid((2, 2, 2), (1.0, 1.0, 1.0))
    labels = np.array([[[0, 7], [0, 7]], [[0, 7], [0, 7]]], np.uint8)
    fine = grid.with_spacing((0.5, 0.5, 0.5))
    moved = resample(Volume(labels, grid, Modality.LABELS), fine, outside=0, nearest=True)
    assert set(np.unique(moved.array)) <= {0, 7}


def test_flat_and_vector_images_are_refused():
    with pytest.raises(DataError, match="three axes"):
        from_itk(sitk.Image(4, 4, sitk.sitkInt16), Modality.CT)
    with pytest.raises(DataError, match="one value"):
        from_itk(sitk.Image([4, 4, 4], sitk.sitkVectorFloat32, 3), Modality.CT)
