from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from synthct.tasks.models.description import ModelDescription, SourceScaling, TargetScaling
from synthct.tasks.models.windows import MIN_WEIGHT, axis_windows, blending, plan_windows, take


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 200), st.integers(1, 96), st.floats(0, 0.95))
def test_every_voxel_lies_in_a_window(length, size, overlap):
    windows = axis_windows(length, size, overlap)
    covered = np.zeros(length, int)
    for number in range(len(windows.starts)):
        covered[windows.inside(number)[0]] += 1
    assert covered.min() >= 1


@pytest.mark.parametrize("length", [64, 65, 100, 256])
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5, 0.8])
def test_windows_start_where_monais_start(length, overlap):
    monai_utils = pytest.importorskip("monai.data.utils")
    interval = length if length == 64 else max(1, int(64 * (1 - overlap)))
    theirs = monai_utils.dense_patch_slices((length,), (64,), (interval,))
    assert axis_windows(length, 64, overlap).starts == tuple(cut[0].start for cut in theirs)


@pytest.mark.parametrize("sizes", [(64, 64), (32, 48), (8, 32, 24)])
def test_blending_weights_are_monais(sizes):
    monai_utils = pytest.importorskip("monai.data.utils")
    theirs = monai_utils.compute_importance_map(sizes, mode="gaussian", sigma_scale=0.125)
    np.testing.assert_allclose(blending(sizes), theirs.numpy(), rtol=1e-5)


def test_neighbouring_windows_overlap_by_at_least_what_was_asked():
    starts = axis_windows(100, 32, 0.5).starts
    assert starts == (0, 16, 32, 48, 64, 68)


def test_the_middle_of_a_window_counts_1_its_corner_the_floor():
    weights = blending((1, 65, 65))[0]
    assert weights[32, 32] == 1.0
    assert weights[0, 0] == np.float32(MIN_WEIGHT)
    assert MIN_WEIGHT < weights[32, 10] < 0.5 < weights[32, 28]


def test_edge_voxels_are_repeated_outside_the_scan():
    array = np.arange(6).reshape(1, 2, 3)
    got = take(array, (-1, 0, 1), (2, 3, 3))
    np.testing.assert_array_equal(got[0], [[1, 2, 2], [4, 5, 5], [4, 5, 5]])
    np.testing.assert_array_equal(got[0], got[1])


def test_a_scan_smaller_than_the_patch_is_seen_as_training_saw_it(model):
    windows = plan_windows((6, 21, 100), model, 0.5)
    assert [axis.size for axis in windows.axes] == [1, 32, 32]
    assert windows.axes[1].starts == (-5,)  # as a training patch around the middle starts


def test_3d_windows_are_boxes_with_one_channel(model):
    boxes = model.model_copy(update={"dimensions": "3d", "patch_size": (16, 32, 32)})
    windows = plan_windows((40, 50, 50), boxes, 0.5)
    assert [axis.size for axis in windows.axes] == [16, 32, 32]
    assert windows.read(np.zeros((40, 50, 50)), (0, 0, 0)).shape == (1, 16, 32, 32)


@pytest.mark.parametrize("slices", [1, 3, 5])
def test_channels_are_the_neighbours_with_the_own_slice_in_the_middle(model, slices):
    array = np.broadcast_to(np.arange(6.0)[:, None, None], (6, 32, 32))
    windows = plan_windows(array.shape, model.model_copy(update={"slices": slices}), 0.5)
    for z in range(6):
        channels = windows.read(array, (z, 0, 0))[:, 0, 0]
        expected = np.clip(np.arange(z - slices // 2, z + slices // 2 + 1), 0, 5)
        np.testing.assert_array_equal(channels, expected)


def test_a_scan_smaller_than_one_deepest_voxel_cannot_be_normalised():
    model = ModelDescription(
        source="mr", fold=0, network={"name": "any"}, slices=1, patch_size=(8, 16), divisor=4,
        spacing_mm=(1.0, 1.0, 1.0), source_scaling=SourceScaling(), target_scaling=TargetScaling(),
    )  # fmt: skip
    windows = plan_windows((3, 4, 3), model, overlap=0.5)
    (first, *_) = windows.needed(np.ones((3, 4, 3), bool))
    assert windows.read(np.zeros((3, 4, 3), np.float32), first).shape == (1, 8, 16)
