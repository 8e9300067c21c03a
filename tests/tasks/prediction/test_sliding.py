from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import correlate

from synthct.data.errors import DataError, UsageError
from synthct.data.volume import Grid, Modality
from synthct.tasks.models.normalise import scale_source, unscale_target
from synthct.tasks.models.sliding import predict
from synthct.tasks.models.windows import take

KERNEL = np.array([[0, 1, 0], [1, 2, 1], [0, 1, 0]], np.float32) / 12


def smooth(inputs):
    """An equivariant network: a symmetric filter of the middle slice."""
    middle = inputs[:, inputs.shape[1] // 2]
    return np.tanh(np.stack([correlate(image, KERNEL, mode="nearest") for image in middle]))[
        :, None
    ]


def lopsided(inputs):
    """A network that answers differently to a flipped scan."""
    ramp = np.linspace(-0.5, 0.5, inputs.shape[-1], dtype=np.float32)
    return np.broadcast_to(ramp, (inputs.shape[0], 1, *inputs.shape[2:]))


def pointwise(inputs):
    return np.tanh(inputs[:, inputs.shape[1] // 2][:, None] * np.float32(0.3))


def reference_hu(values, mask, model):
    hu = np.rint(unscale_target(values, model.target_scaling)).astype(np.int16)
    return np.where(mask.array > 0, hu, model.outside_hu)


def test_windows_that_cover_the_slice_equal_the_network_on_the_whole_slice(model, scan):
    source, mask = scan
    large = model.model_copy(update={"patch_size": (64, 64)})
    scaled = scale_source(source.array, mask.array, model.source_scaling)
    padded = take(scaled, (0, -3, -3), (6, 56, 48))  # 50 x 41 to multiples of 8, centred
    direct = np.concatenate([smooth(image[None, None]) for image in padded])[:, 0, 3:53, 3:44]
    got = predict(smooth, source, mask, large).hu
    np.testing.assert_array_equal(got, reference_hu(direct, mask, model))


@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5, 0.8])
@pytest.mark.parametrize("batch", [1, 7])
def test_blending_leaves_what_all_windows_agree_on(model, scan, overlap, batch):
    source, mask = scan
    scaled = scale_source(source.array, mask.array, model.source_scaling)
    expected = reference_hu(np.tanh(scaled * np.float32(0.3)), mask, model)
    got = predict(pointwise, source, mask, model, overlap=overlap, batch=batch).hu
    assert np.abs(got.astype(int) - expected).max() <= 1  # float32 sums of up to 25 windows


def disagreeing(inputs):
    """Answers by the place within the window alone: windows disagree by hundreds of HU."""
    ramp = np.linspace(-0.9, 0.9, inputs.shape[-1], dtype=np.float32)
    rows = np.linspace(0.8, -0.6, inputs.shape[-2], dtype=np.float32)
    plane = np.tanh(ramp + rows[:, None] + 3 * ramp * rows[:, None])
    return np.broadcast_to(plane, (len(inputs), 1, *inputs.shape[2:]))


@pytest.mark.parametrize("overlap", [0.25, 0.5, 0.8])
@pytest.mark.parametrize("deep", [False, True])
def test_windows_that_disagree_are_blended_as_monai_blends_them(model, scan, overlap, deep):
    torch = pytest.importorskip("torch")
    inferers = pytest.importorskip("monai.inferers")
    source, mask = scan
    patch = (4, 32, 32) if deep else (32, 32)
    changes = {"dimensions": "3d", "divisor": 4} if deep else {}
    chosen = model.model_copy(update={"patch_size": patch, "slices": 1, **changes})
    scaled = torch.from_numpy(scale_source(source.array, mask.array, model.source_scaling))
    answer = inferers.sliding_window_inference(
        scaled[None, None] if deep else scaled[:, None], patch, 4,
        lambda windows: torch.from_numpy(disagreeing(windows.numpy()).copy()),
        overlap=overlap, mode="gaussian", sigma_scale=0.125,
    )  # fmt: skip
    theirs = answer.numpy().reshape(source.array.shape)
    got = predict(disagreeing, source, mask, chosen, overlap=overlap).hu
    gap = np.abs(got.astype(int) - reference_hu(theirs, mask, model))
    assert gap.max() <= 1


def test_3d_windows_give_what_2d_windows_give_for_a_pointwise_network(model, scan):
    source, mask = scan
    boxes = model.model_copy(
        update={"dimensions": "3d", "patch_size": (4, 32, 32), "divisor": 4, "slices": 1}
    )
    flat = predict(pointwise, source, mask, model).hu
    deep = predict(lambda x: np.tanh(x * np.float32(0.3)), source, mask, boxes).hu
    assert np.abs(flat.astype(int) - deep).max() <= 1


def test_tta_changes_nothing_for_an_equivariant_network(model, scan):
    source, mask = scan
    once = predict(smooth, source, mask, model, uncertainty=True)
    flipped = predict(smooth, source, mask, model, tta=True, uncertainty=True)
    assert np.abs(once.hu.astype(int) - flipped.hu).max() <= 1
    assert flipped.sd_hu.max() < 0.01
    assert once.sd_hu.max() == 0


def test_tta_is_the_mean_of_identity_y_flip_and_x_flip(model, scan):
    source, mask = scan
    one_window = model.model_copy(update={"patch_size": (64, 64)})
    got = predict(lopsided, source, mask, one_window, tta=True, uncertainty=True)
    ramp = np.linspace(-0.5, 0.5, 64)[11:52]  # 41 columns in the middle of a window of 64
    votes = np.stack([ramp, ramp, -ramp])  # identity and Y flip, X flip turned back
    expected = unscale_target(votes.mean(axis=0), model.target_scaling)
    inside = mask.array[2, 20] > 0
    np.testing.assert_allclose(got.hu[2, 20][inside], expected[inside], atol=0.51)
    sd_hu = votes.std(axis=0) * 2047.5
    np.testing.assert_allclose(got.sd_hu[2, 20][inside], sd_hu[inside], atol=0.05)


def test_an_ensemble_is_the_mean_and_its_spread_the_standard_deviation(model, scan):
    source, mask = scan
    constant = [lambda x, v=v: np.full((len(x), 1, *x.shape[2:]), v, np.float32) for v in (0, 0.2)]
    got = predict(constant, source, mask, model, uncertainty=True)
    inside = mask.array > 0
    assert set(np.unique(got.hu[inside])) == {round(0.1 * 2047.5 + 1023.5)}
    np.testing.assert_allclose(got.sd_hu[inside], 0.1 * 2047.5, rtol=1e-4)
    assert got.sd_hu[~inside].max() == 0


def test_outside_the_body_is_air_and_output_stays_in_the_trained_range(model, scan):
    source, mask = scan
    air = model.model_copy(update={"outside_hu": -1000})
    got = predict(lambda x: np.full((len(x), 1, *x.shape[2:]), 9, np.float32), source, mask, air).hu
    assert set(np.unique(got[mask.array == 0])) == {-1000}
    assert set(np.unique(got[mask.array > 0])) == {3071}


def test_windows_without_body_are_not_computed(model, scan):
    source, mask = scan
    small = np.zeros_like(mask.array)
    small[3, 5, 5] = small[3, 6, 5] = 1
    windows = []
    predict(
        pointwise, source, mask.with_array(small), model, progress=lambda d, n: windows.append(n)
    )
    assert windows[-1] == 1


def test_progress_ends_at_the_total(model, scan):
    calls = []
    predict(pointwise, *scan, model, batch=5, progress=lambda *call: calls.append(call))
    done = [call[0] for call in calls]
    assert done == sorted(done)
    assert calls[-1][0] == calls[-1][1]


def test_a_network_that_answers_nan_is_named(model, scan):
    with pytest.raises(DataError) as caught:
        predict(lambda x: np.full((len(x), 1, *x.shape[2:]), np.nan, np.float32), *scan, model)
    assert caught.value.code == "prediction-not-finite"


def test_a_mask_of_another_grid_is_named(model, scan):
    source, mask = scan
    moved = Grid(mask.grid.shape, mask.grid.spacing_mm, (9.0, 0.0, 0.0))
    with pytest.raises(DataError) as caught:
        predict(pointwise, source, type(mask)(mask.array, moved, Modality.MASK), model)
    assert caught.value.code == "mask-elsewhere"


def test_an_impossible_overlap_is_named(model, scan):
    with pytest.raises(UsageError):
        predict(pointwise, *scan, model, overlap=1.0)
