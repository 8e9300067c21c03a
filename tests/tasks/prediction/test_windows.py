from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from tasks.prediction.description import ModelDescription, SourceScaling, TargetScaling
from tasks.prediction.windows import axis_windows, plan_windows, take


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 200), st.integers(1, 96), st.floats(0, 0.95))
def test_weights_of_all_windows_add_up_to_1_at_every_voxel(length, size, overlap):
    windows = axis_windows(length, size, overlap)
    total = np.zeros(length)
    for number in range(len(windows.starts)):
        place, part = windows.inside(number)
        total[place] += windows.weights[number][part]
    np.testing.assert_allclose(total, 1, atol=1e-5)


def test_neighbouring_windows_overlap_by_at_least_what_was_asked():
    starts = axis_windows(100, 32, 0.5).starts
    assert starts == (0, 16, 32, 48, 64, 68)


def test_the_middle_of_a_window_counts_more_than_its_edge():
    windows = axis_windows(96, 64, 0.5)
    weights = windows.weights[0]
    assert weights[31] == 1.0  # the first window alone
    assert 0 < weights[60] < 0.5 < weights[36]


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
        task="mr", fold=0, network={"name": "any"}, slices=1, patch_size=(8, 16), divisor=4,
        spacing_mm=(1.0, 1.0, 1.0), source_scaling=SourceScaling(), target_scaling=TargetScaling(),
    )  # fmt: skip
    windows = plan_windows((3, 4, 3), model, overlap=0.5)
    (first, *_) = windows.needed(np.ones((3, 4, 3), bool))
    assert windows.read(np.zeros((3, 4, 3), np.float32), first).shape == (1, 8, 16)
