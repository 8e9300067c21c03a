"""RAS (x, y, z) of nibabel turns into LPS (z, y, x) and back without moving or changing a voxel."""

from __future__ import annotations

import builtins

import nibabel
import numpy as np
import pytest

from synthct.data.affine import ras_affine
from synthct.data.errors import DataError, MachineError
from synthct.data.nibabel_images import from_nibabel, to_nibabel
from synthct.data.readers import read_scan
from synthct.data.volume import Grid, Modality, Volume


def test_a_voxel_lies_where_nibabel_says_it_lies(oblique):
    image = to_nibabel(oblique)
    for z, y, x in [(0, 0, 0), (11, 19, 25), (3, 7, 20)]:
        right, front, up = nibabel.affines.apply_affine(image.affine, (x, y, z))
        ours = oblique.grid.points(np.array([z, y, x]))
        assert np.allclose((up, -front, -right), ours, atol=1e-9)
        assert image.dataobj[x, y, z] == oblique.array[z, y, x]


def test_hand_value_of_a_scan_that_looks_to_the_feet():
    """Columns of RAS: i to the left (-2), j to the back (-3), k to the feet (-4)."""
    affine = np.array([[-2.0, 0, 0, 10], [0, -3, 0, 20], [0, 0, -4, 30], [0, 0, 0, 1]])
    image = nibabel.Nifti1Image(np.zeros((5, 6, 7), np.int16), affine)
    grid = from_nibabel(image, Modality.CT).grid
    assert grid == Grid((7, 6, 5), (4.0, 3.0, 2.0), (30.0, -20.0, -10.0),
                        ((-1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)))  # fmt: skip
    assert np.array_equal(ras_affine(grid), affine)


def test_an_upright_scan_comes_back_to_the_last_bit():
    grid = Grid((3, 4, 5), (2.7, 0.9765625, 0.123456789), (-511.123456789, 1e-7, 33.3))
    values = np.random.default_rng(0).normal(size=grid.shape)
    back = from_nibabel(to_nibabel(Volume(values, grid, Modality.MR)), Modality.MR)
    assert back.grid == grid
    assert back.array.dtype == values.dtype
    assert np.array_equal(back.array, values)


def test_an_oblique_scan_comes_back_within_the_rounding_of_64_bits(oblique):
    image = to_nibabel(oblique)
    back = from_nibabel(image, oblique.modality)
    assert back.grid.is_close(oblique.grid, 1e-9)
    assert np.allclose(to_nibabel(back).affine, image.affine, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", ["?", "f2", ">i2", "i8", "u8", "u2", "f8"])
def test_no_type_of_voxel_loses_its_values(oblique, dtype):
    volume = oblique.with_array((oblique.array > 0).astype(dtype) * np.array(1, dtype))
    back = from_nibabel(to_nibabel(volume), Modality.MR)
    assert np.array_equal(back.array, volume.array)


def test_a_file_that_nibabel_saves_is_read_at_the_same_place(oblique, tmp_path):
    nibabel.save(to_nibabel(oblique), tmp_path / "scan.nii.gz")
    back = read_scan(tmp_path / "scan.nii.gz", oblique.modality)
    assert np.array_equal(back.array, oblique.array)
    assert back.grid.is_close(oblique.grid, 1e-3)  # 32 bits on disk
    loaded = from_nibabel(nibabel.load(tmp_path / "scan.nii.gz"), oblique.modality)
    assert loaded.grid.is_close(back.grid, 1e-4)


def test_values_are_scaled_as_the_header_says_and_share_no_memory(oblique, tmp_path):
    header = nibabel.Nifti1Header()
    header.set_data_dtype(np.int16)
    values = np.linspace(-1000, 2000, 60).reshape(3, 4, 5)
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4), header), tmp_path / "ct.nii")
    image = nibabel.load(tmp_path / "ct.nii")
    assert np.allclose(from_nibabel(image, Modality.CT).array, values.T, atol=0.1)
    array = np.zeros((3, 4, 5), np.float32)
    volume = from_nibabel(nibabel.Nifti1Image(array, np.eye(4)), Modality.MR)
    array[:] = 7
    assert volume.array.max() == 0


def test_a_length_in_metres_is_not_taken_for_millimetres():
    image = nibabel.Nifti1Image(np.zeros((2, 2, 2), np.int16), np.diag([0.002, 0.003, 0.004, 1]))
    image.header.set_xyzt_units("meter")
    assert np.allclose(from_nibabel(image, Modality.CT).grid.spacing_mm, (4.0, 3.0, 2.0))


@pytest.mark.parametrize(
    ("change", "shape", "code"),
    [
        (lambda affine: affine.__setitem__((0, 1), 0.3), (4, 5, 6), "direction-skewed"),
        (lambda affine: affine.__setitem__((0, 0), 0.0), (4, 5, 6), "spacing-not-positive"),
        (lambda affine: affine.__setitem__((0, 0), np.nan), (4, 5, 6), "spacing-not-positive"),
        (lambda affine: None, (4, 5, 6, 2), "not-3d"),
        (lambda affine: None, (4, 5), "not-3d"),
    ],
)
def test_shear_or_several_values_a_voxel_is_refused_with_its_code(change, shape, code):
    image = nibabel.Nifti1Image(np.zeros(shape, np.int16), np.eye(4))
    change(image.affine)
    with pytest.raises(DataError) as caught:
        from_nibabel(image, Modality.CT)
    assert caught.value.code == code


def test_an_image_without_an_affine_is_refused():
    with pytest.raises(DataError) as caught:
        from_nibabel(nibabel.Nifti1Image(np.zeros((2, 2, 2), np.int16), None), Modality.CT)
    assert caught.value.code == "no-orientation"


def test_a_single_time_point_counts_as_a_volume():
    image = nibabel.Nifti1Image(np.ones((2, 3, 4, 1), np.int16), np.eye(4))
    assert from_nibabel(image, Modality.CT).array.shape == (4, 3, 2)


def test_without_nibabel_the_error_says_what_to_install(oblique, monkeypatch):
    usual = builtins.__import__

    def absent(name, *arguments, **keywords):
        if name == "nibabel":
            raise ModuleNotFoundError(name=name)
        return usual(name, *arguments, **keywords)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(MachineError, match="pip install nibabel"):
        to_nibabel(oblique)
