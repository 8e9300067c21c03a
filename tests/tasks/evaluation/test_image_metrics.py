"""The scores are the published ones: equal to the formulae written out with scipy's filters."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter, uniform_filter
from scipy.signal import fftconvolve
from skimage.metrics import structural_similarity

from synthct.data.errors import DataError, UsageError
from synthct.tasks.evaluation.metrics import METRICS
from synthct.tasks.evaluation.metrics.ms_ssim import halve, pad_to_least
from synthct.tasks.evaluation.pair import masked_pair
from synthct.tasks.evaluation.profiles import PROFILES, Profile, profile_called

CONTAINER = PROFILES["synthrad2025_container"]


def measure(name, *arrays, profile=CONTAINER):
    return METRICS.build(name, {})(masked_pair(*arrays, profile=profile))


def value(name, *arrays, profile=CONTAINER):
    return measure(name, *arrays, profile=profile).values[name]


def direct_ms_ssim(reference, prediction, mask, low, high):
    width = high - low
    c1, c2 = (0.01 * width) ** 2, (0.03 * width) ** 2
    c3 = c2 / 2
    sample = 343 / 342
    x, y = (np.clip(image.astype(float), low, high) for image in (reference, prediction))
    x, y = np.where(mask, x, low) - low, np.where(mask, y, low) - low
    pads = []
    for size in mask.shape:
        missing = max(0, 97 - size)
        pads.append((int(np.floor(missing / 2)), int(np.ceil(missing / 2))))
    x, y, mask = (np.pad(array, pads, mode="edge") for array in (x, y, mask))
    product = 1.0
    for weight in (0.0448, 0.2856, 0.3001, 0.2363, 0.1333):
        ux, uy = uniform_filter(x, 7), uniform_filter(y, 7)
        vx = sample * (uniform_filter(x * x, 7) - ux * ux)
        vy = sample * (uniform_filter(y * y, 7) - uy * uy)
        vxy = sample * (uniform_filter(x * y, 7) - ux * uy)
        sx, sy = np.sqrt(np.maximum(vx, 0)), np.sqrt(np.maximum(vy, 0))
        luminance = np.maximum((2 * ux * uy + c1) / (ux * ux + uy * uy + c1), 0)
        contrast = np.maximum((2 * sx * sy + c2) / (vx + vy + c2), 0)
        structure = np.maximum((vxy + c3) / (sx * sy + c3), 0)
        whole = (luminance * contrast * structure) ** weight
        inside = mask[3:-3, 3:-3, 3:-3]
        if not inside.any():
            break
        product *= np.clip(whole[3:-3, 3:-3, 3:-3][inside].mean(), 0, 1)
        kernel = np.ones((2, 2, 2)) / 8
        x = fftconvolve(x, kernel, mode="same")[::2, ::2, ::2]
        y = fftconvolve(y, kernel, mode="same")[::2, ::2, ::2]
        mask = mask[::2, ::2, ::2]
    return product


def images(shape, seed, *, spread=600.0, dtype=float):
    rng = np.random.default_rng(seed)
    reference = gaussian_filter(rng.standard_normal(shape), 1.5) * spread * 8
    prediction = reference * 0.9 + rng.normal(0, 60, shape) + 20
    z, y, x = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")
    mask = (0.4 * z) ** 2 + (y / 0.9) ** 2 + (x / 0.8) ** 2 < 1
    return reference.astype(dtype), prediction.astype(dtype), mask


CASES = {
    "axes under 97 voxels": {"shape": (24, 60, 71), "seed": 1},
    "odd sizes beyond 97": {"shape": (99, 101, 113), "seed": 2},
    "even sizes, one axis short": {"shape": (32, 128, 110), "seed": 3},
    "int16": {"shape": (40, 64, 80), "seed": 4, "dtype": np.int16},
    "out-of-range HU": {"shape": (30, 70, 70), "seed": 5, "spread": 9000.0},
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("profile", PROFILES)
def test_ms_ssim_is_the_published_one_to_1e_9(case, profile):
    reference, prediction, mask = images(**CASES[case])
    if case == "out-of-range HU":
        assert reference.max() > 3071
        assert reference.min() < -1024
    low, high = PROFILES[profile].low_hu, PROFILES[profile].high_hu
    expected = direct_ms_ssim(reference, prediction, mask, low, high)
    got = value("ms_ssim", reference, prediction, mask, profile=PROFILES[profile])
    assert 0.05 < got < 0.9999
    assert got == pytest.approx(expected, abs=1e-9)


def test_ms_ssim_of_a_mask_that_vanishes_at_a_coarse_level_ends_there_and_says_so():
    reference, prediction, _ = images((100, 100, 100), 6)
    mask = np.zeros(reference.shape, bool)
    mask[31:34, 41:44, 51:54] = True  # kept at 32, 42 | 44, 52: gone at the third level
    got = measure("ms_ssim", reference, prediction, mask)
    expected = direct_ms_ssim(reference, prediction, mask, -1024.0, 3071.0)
    assert got.values["ms_ssim"] == pytest.approx(expected, abs=1e-9)
    assert got.warnings == ("ms_ssim: the mask vanishes at level 3 of 5",)


def test_ms_ssim_of_a_mask_within_three_voxels_of_the_border_is_no_number():
    reference, prediction, _ = images((100, 100, 100), 7)
    mask = np.zeros(reference.shape, bool)
    mask[:, :2, :] = True
    assert value("ms_ssim", reference, prediction, mask) is None
    assert value("ssim_2023", reference, prediction, mask) is None


@pytest.mark.parametrize("case", ["axes under 97 voxels", "odd sizes beyond 97"])
def test_similarity_by_torch_is_the_same_number_wherever_it_runs(case):
    pair = masked_pair(*images(**CASES[case]))
    for name in ("ms_ssim", "ssim_2023"):
        numpy, torch = (METRICS.build(name, {"device": d})(pair).values for d in ("", "cpu"))
        assert torch[name] == pytest.approx(numpy[name], abs=1e-9)


def test_by_torch_a_vanishing_mask_ends_the_product_too():
    reference, prediction, _ = images((100, 100, 100), 6)
    mask = np.zeros(reference.shape, bool)
    mask[31:34, 41:44, 51:54] = True
    pair = masked_pair(reference, prediction, mask)
    got, numpy = (METRICS.build("ms_ssim", {"device": d})(pair) for d in ("cpu", ""))
    assert got.values["ms_ssim"] == pytest.approx(numpy.values["ms_ssim"], abs=1e-9)
    assert got.warnings == numpy.warnings
    border = np.zeros(reference.shape, bool)
    border[:, :2, :] = True
    for name in ("ms_ssim", "ssim_2023"):
        empty = METRICS.build(name, {"device": "cpu"})(masked_pair(reference, prediction, border))
        assert empty.values[name] is None


@pytest.mark.slow
def test_ms_ssim_is_at_least_three_times_faster_than_the_direct_formulation():
    reference, prediction, mask = images((96, 256, 256), 12, dtype=np.int16)

    def seconds(function):
        started = time.perf_counter()
        function()
        return time.perf_counter() - started

    ours = min(seconds(lambda: value("ms_ssim", reference, prediction, mask)) for _ in range(3))
    direct = min(
        seconds(lambda: direct_ms_ssim(reference, prediction, mask, -1024.0, 3071.0))
        for _ in range(3)
    )
    assert direct > 3 * ours


@settings(max_examples=12, deadline=None)
@given(
    shape=st.tuples(*[st.integers(1, 20)] * 3),
    start=st.tuples(*[st.integers(0, 12)] * 3),
    seed=st.integers(0, 999),
)
def test_ms_ssim_agrees_wherever_the_mask_lies(shape, start, seed):
    rng = np.random.default_rng(seed)
    reference = rng.normal(0, 500, (26, 25, 24)).cumsum(axis=2) / 3
    prediction = reference + rng.normal(0, 100, reference.shape)
    mask = np.zeros(reference.shape, bool)
    mask[tuple(slice(a, a + n) for a, n in zip(start, shape, strict=True))] = True
    expected = direct_ms_ssim(reference, prediction, mask, -1024.0, 3071.0)
    assert value("ms_ssim", reference, prediction, mask) == pytest.approx(expected, abs=1e-9)


def test_ms_ssim_of_a_picture_with_itself_is_one_and_of_its_negative_is_low():
    reference, _, mask = images((30, 64, 64), 8)
    assert value("ms_ssim", reference, reference, mask) == pytest.approx(1.0, abs=1e-12)
    assert value("ms_ssim", reference, -reference, mask) < 0.2


def test_no_mask_means_all_voxels():
    reference, prediction, _ = images((20, 30, 30), 9)
    whole = np.ones(reference.shape)
    for name in METRICS.names():
        unmasked = measure(name, reference, prediction).values
        assert unmasked == measure(name, reference, prediction, whole).values


@pytest.mark.parametrize("size", [97, 98, 101, 5])
def test_halving_is_the_published_convolution_with_its_dark_first_voxel(size):
    image = np.random.default_rng(size).uniform(0, 4095, (size, size + 1, 7))
    expected = fftconvolve(image, np.ones((2, 2, 2)) / 8, mode="same")[::2, ::2, ::2]
    np.testing.assert_allclose(halve(image), expected, atol=1e-9)
    assert halve(np.ones((4, 4, 4)))[0, 0, 0] == 0.125


def test_padding_puts_the_odd_voxel_behind():
    padded = pad_to_least(np.arange(90.0)[:, None, None] * np.ones((1, 97, 120)))
    assert padded.shape == (97, 97, 120)
    assert padded[:5, 0, 0].tolist() == [0, 0, 0, 0, 1]
    assert padded[-5:, 0, 0].tolist() == [89] * 5


@pytest.mark.parametrize("dtype", [float, np.int16])
def test_ssim_2023_is_scikit_image_under_the_2023_range(dtype):
    reference, prediction, mask = images((21, 40, 33), 10, spread=3000.0, dtype=dtype)
    x, y = (
        np.where(mask, np.clip(image.astype(float), -1024, 3000), -1024) + 1024
        for image in (reference, prediction)
    )
    _, whole = structural_similarity(x, y, data_range=4024, full=True)
    expected = whole[3:-3, 3:-3, 3:-3][mask[3:-3, 3:-3, 3:-3]].mean()
    for profile in PROFILES.values():
        got = value("ssim_2023", reference, prediction, mask, profile=profile)
        assert got == pytest.approx(expected, abs=1e-12)
    assert abs(got - value("ms_ssim", reference, prediction, mask)) > 1e-3


def test_errors_are_signed_unclipped_and_inside_the_mask_by_hand():
    reference = np.array([[[0, 1000, -1000, 5000]]], np.int16)
    prediction = np.array([[[10, 960, 9999, 4000]]], np.int16)
    mask = np.array([[[2, 1, 0, 255]]])
    assert value("mae_hu", reference, prediction, mask) == (10 + 40 + 1000) / 3
    assert value("me_hu", reference, prediction, mask) == (10 - 40 - 1000) / 3


def test_int16_differences_do_not_wrap_around():
    reference, prediction = (
        np.full((1, 1, 2), -32000, np.int16),
        np.full((1, 1, 2), 32000, np.int16),
    )
    assert value("mae_hu", reference, prediction) == 64000


@pytest.mark.parametrize(("name", "top"), [("metrics", 3000.0), ("container", 3071.0)])
def test_psnr_clips_to_the_profile_and_averages_inside_the_mask_by_hand(name, top):
    reference = np.array([[[0.0, 9000.0, 0.0]]])
    prediction = np.array([[[30.0, 4000.0, 777.0]]])
    mask = np.array([[[1, 1, 0]]])
    expected = 10 * np.log10((top + 1024) ** 2 / (30**2 / 2))
    profile = PROFILES[f"synthrad2025_{name}"]
    got = value("psnr_db", reference, prediction, mask, profile=profile)
    assert got == pytest.approx(expected, rel=1e-12)


def test_identical_images_have_no_psnr_instead_of_infinity():
    got = measure("psnr_db", np.zeros((2, 2, 2)), np.zeros((2, 2, 2)))
    assert got.values == {"psnr_db": None}
    assert "identical" in got.warnings[0]


def test_what_lies_outside_the_mask_changes_no_score():
    reference, prediction, mask = images((22, 40, 40), 11)
    other = np.where(mask, prediction, 3000.0)
    for name in METRICS.names():
        before = measure(name, reference, prediction, mask).values
        assert measure(name, reference, other, mask).values == before


@pytest.mark.parametrize("where", ["reference", "prediction"])
def test_a_nan_is_named_and_never_averaged_over(where):
    arrays = {"reference": np.zeros((2, 3, 4)), "prediction": np.zeros((2, 3, 4))}
    arrays[where][0, 0, 0] = np.nan
    with pytest.raises(DataError, match=f"{where}: 1 of 24 voxels are NaN"):
        masked_pair(**arrays)


def test_an_empty_mask_and_other_shapes_are_data_errors():
    with pytest.raises(DataError, match="mask is empty"):
        masked_pair(np.zeros((2, 2, 2)), np.zeros((2, 2, 2)), np.zeros((2, 2, 2)))
    with pytest.raises(DataError, match="one shape"):
        masked_pair(np.zeros((2, 2, 2)), np.zeros((2, 2, 3)))


def test_an_unknown_profile_or_a_range_upside_down_is_refused():
    with pytest.raises(UsageError, match="synthrad2025_container"):
        profile_called("synthrad")
    with pytest.raises(ValueError, match="low_hu < high_hu"):
        Profile("mine", 100.0, -100.0)


def test_bone_dice_counts_bone_inside_the_mask_alone_and_none_where_there_is_hardly_any():
    reference, prediction = np.full((2, 6, 20, 20), 40.0)
    reference[:, 5:15, 5:15] = 800.0
    prediction[:, 5:15, 10:20] = 300.0
    mask = np.ones(reference.shape, bool)
    assert value("bone_dice", reference, prediction, mask) == pytest.approx(0.5)
    mask[:, :, 15:] = False
    assert value("bone_dice", reference, prediction, mask) == pytest.approx(2 * 50 / 150)
    mask[:, :, 5:] = False
    assert value("bone_dice", reference, prediction, mask) is None
