"""A mask as a DICOM segmentation is the mask, where it was, for any reader."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest

from synthct.data.errors import DataError
from synthct.data.volume import Grid, Modality, Volume
from synthct.data.writers.segmentation import write_segmentation

KIND = ("UNTRUSTED", "99SYNTHCT", "not to be trusted")


def write(file, mask, **changes):
    options = {
        "label": "doubt", "kind": KIND, "algorithm": "a test", "patient_id": "X", "study": "s",
        "series_description": "doubt", "uid_seed": "seed",
    }  # fmt: skip
    write_segmentation(file, mask, **{**options, **changes})
    return pydicom.dcmread(file)


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_slice_lands_elsewhere(tmp_path, mirrored):
    random = np.random.default_rng(0)
    values = (random.random((4, 5, 3)) < 0.5).astype(np.uint8)  # 15 voxels: no whole byte a slice
    z = -1.0 if mirrored else 1.0
    grid = Grid((4, 5, 3), (3.0, 1.5, 2.0), (7.0, -4.0, 2.0), ((z, 0, 0), (0, 1.0, 0), (0, 0, 1.0)))
    made = write(tmp_path / "a.dcm", Volume(values, grid, Modality.MASK))
    assert (made.SegmentationType, made.BitsAllocated) == ("BINARY", 1)
    for frame, group in zip(made.pixel_array, made.PerFrameFunctionalGroupsSequence, strict=True):
        corner = np.array(group.PlanePositionSequence[0].ImagePositionPatient, float)[::-1]
        index = round(float(grid.index(corner)[0]))
        np.testing.assert_allclose(grid.points(np.array([index, 0, 0])), corner)
        np.testing.assert_array_equal(frame, values[index])
    shared = made.SharedFunctionalGroupsSequence[0]
    assert shared.PixelMeasuresSequence[0].PixelSpacing == [1.5, 2.0]


def test_bytes_depend_on_a_clock_or_an_image_is_taken_for_a_mask(tmp_path):
    mask = Volume(np.ones((2, 2, 2), np.uint8), Grid((2, 2, 2), (1, 1, 1)), Modality.MASK)
    write(tmp_path / "a.dcm", mask)
    write(tmp_path / "b.dcm", mask)
    assert (tmp_path / "a.dcm").read_bytes() == (tmp_path / "b.dcm").read_bytes()
    with pytest.raises(DataError) as caught:
        write(tmp_path / "c.dcm", Volume(mask.array, mask.grid, Modality.CT))
    assert caught.value.code == "modality-not-mask"
