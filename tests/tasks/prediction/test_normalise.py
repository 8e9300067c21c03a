from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from synthct.data.errors import DataError
from synthct.tasks.models.description import SourceScaling, TargetScaling
from synthct.tasks.models.normalise import fit_source, scale_source, scale_target, unscale_target

ZSCORE = SourceScaling(kind="zscore_in_mask")
MIN_P995 = SourceScaling(kind="min_p99.5")


def test_zscore_is_mean_0_sd_1_inside_the_mask_whatever_lies_outside():
    array = np.array([[[2.0, 4.0, 6.0, 1e6]]])
    mask = np.array([[[1, 1, 1, 0]]])
    scaled = scale_source(array, mask, ZSCORE)
    width = np.sqrt(8 / 3)  # population SD of 2, 4, 6
    np.testing.assert_allclose(scaled[0, 0, :3], [-2 / width, 0, 2 / width], rtol=1e-6)
    assert scaled[0, 0, 3] > 1e5
    assert scaled.dtype == np.float32


def test_min_and_99_5th_percentile_become_minus_1_and_1_and_the_rest_is_clipped():
    array = np.arange(0, 201, dtype=np.float64).reshape(1, 1, 201)  # p99.5 of 0..200 is 199
    scaled = scale_source(array, np.ones_like(array), MIN_P995)
    np.testing.assert_allclose(scaled[0, 0, [0, 199, 200]], [-1, 1, 1], atol=1e-6)
    np.testing.assert_allclose(scaled[0, 0, 50], 50 / 199 * 2 - 1, atol=1e-6)
    outside = scale_source(
        np.append(array, [[[-50.0]]], axis=2), np.r_[np.ones(201), 0][None, None], MIN_P995
    )
    assert outside[0, 0, -1] == -1


def test_a_patch_holds_the_same_numbers_as_the_scan_it_was_cut_from():
    array = np.random.default_rng(0).normal(300, 80, (4, 20, 20)).astype(np.float32)
    mask = array > 200
    for scaling in (ZSCORE, MIN_P995):
        whole = scale_source(array, mask, scaling)
        part = fit_source(array, mask, scaling)(array[1:3, 5:9])
        np.testing.assert_array_equal(part, whole[1:3, 5:9])


def test_the_scan_is_not_changed():
    array = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    before = array.copy()
    scale_source(array, np.ones_like(array), MIN_P995)
    scale_target(array, TargetScaling())
    unscale_target(array, TargetScaling())
    np.testing.assert_array_equal(array, before)


def test_target_range_ends_are_minus_1_and_1_and_beyond_is_clipped():
    scaled = scale_target(np.array([-2000, -1024, 1023.5, 3071, 9000]), TargetScaling())
    np.testing.assert_allclose(scaled, [-1, -1, 0, 1, 1], atol=1e-6)


@settings(max_examples=50, deadline=None)
@given(st.integers(-1024, 3071))
def test_whole_hu_come_back_after_rounding(hu):
    scaling = TargetScaling()
    back = unscale_target(scale_target(np.array([hu]), scaling), scaling)
    assert np.rint(back)[0] == hu


@pytest.mark.parametrize(
    ("array", "mask", "code"),
    [
        (np.ones((2, 2, 2)), np.zeros((2, 2, 2)), "mask-empty"),
        (np.full((2, 2, 2), np.nan), np.ones((2, 2, 2)), "intensity-not-finite"),
        (np.full((2, 2, 2), 5.0), np.ones((2, 2, 2)), "intensity-constant"),
    ],
)
@pytest.mark.parametrize("scaling", [ZSCORE, MIN_P995])
def test_a_scan_that_cannot_be_scaled_is_named(array, mask, code, scaling):
    with pytest.raises(DataError) as caught:
        fit_source(array, mask, scaling)
    assert caught.value.code == code
