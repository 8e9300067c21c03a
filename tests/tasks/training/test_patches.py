from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from synthct.data.errors import DataError, MachineError
from synthct.data.store.volumes import open_array, read_volume
from synthct.tasks.models.description import ModelDescription, SourceScaling, TargetScaling
from synthct.tasks.models.normalise import fit_source, scale_target
from synthct.tasks.models.windows import plan_windows
from synthct.tasks.training.cases import open_case
from synthct.tasks.training.chunks import ChunkCache
from synthct.tasks.training.patches import PatchSampler, PatchShape, ahead

ROOMY = 1 << 30


def sampler(*cases, size=(16, 24), slices=3, batch=4, cache=None, **more):
    return PatchSampler(
        cases, cache or ChunkCache(ROOMY), PatchShape(size, slices), TargetScaling(), batch,
        seed=3, stream="patches", **more,
    )  # fmt: skip


@pytest.fixture(scope="module")
def big(tmp_path_factory):
    from synthct.data.store.volumes import write_volume
    from synthct.data.volume import Grid, Modality, Volume

    path = tmp_path_factory.mktemp("store") / "big.zarr"
    array = np.random.default_rng(0).integers(-1000, 1000, (40, 130, 70)).astype(np.int16)
    write_volume(path, Volume(array, Grid(array.shape, (1.0, 1.0, 1.0)), Modality.CT))
    return open_array(path), array


@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_a_box_from_the_cache_is_the_box_of_the_array(big, data):
    stored, array = big
    cache = ChunkCache(300_000)  # two chunks of int16 fit
    for _ in range(3):
        start = [data.draw(st.integers(0, n - 1)) for n in array.shape]
        stop = [data.draw(st.integers(a + 1, n)) for a, n in zip(start, array.shape, strict=True)]
        expected = array[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))]
        np.testing.assert_array_equal(cache.read("x", stored, tuple(start), tuple(stop)), expected)
        assert cache.bytes <= 300_000


def test_a_chunk_that_is_kept_is_not_decoded_again(big):
    stored, _ = big
    cache = ChunkCache(ROOMY)
    first = cache.read("x", stored, (0, 0, 0), (16, 64, 64))
    held = cache.bytes
    assert held == 16 * 64 * 64 * 2
    np.testing.assert_array_equal(
        cache.read("x", stored, (3, 5, 7), (9, 30, 40)), first[3:9, 5:30, 7:40]
    )
    assert cache.bytes == held


def test_threads_that_share_a_cache_do_not_break_its_count(big):
    stored, array = big
    cache, wrong = ChunkCache(600_000), []

    def read(seed):
        rng = np.random.default_rng(seed)
        for _ in range(20):
            z, y, x = (int(rng.integers(0, n - 8)) for n in array.shape)
            box = cache.read("x", stored, (z, y, x), (z + 8, y + 8, x + 8))
            if not np.array_equal(box, array[z : z + 8, y : y + 8, x : x + 8]):
                wrong.append(seed)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert cache.bytes == sum(chunk.nbytes for chunk in cache._chunks.values()) <= 600_000


@pytest.mark.parametrize("kind", ["zscore_in_mask", "min_p99.5"])
def test_training_and_prediction_meet_the_same_numbers(stored, tmp_path, kind):
    """A window of the sliding window and the patch at the same place are equal, edges included."""
    files = stored(tmp_path, "a")
    scaling = SourceScaling(kind=kind)
    case = open_case("a", "thorax", files, scaling)
    source, mask = read_volume(files["source"]), read_volume(files["mask"])
    model = ModelDescription(
        source="mr", fold=0, network={"name": "any"}, slices=5, patch_size=(64, 32),
        spacing_mm=(3.0, 2.0, 2.0), source_scaling=scaling, target_scaling=TargetScaling(),
    )  # fmt: skip
    windows = plan_windows(source.grid.shape, model, 0.5)
    scale = fit_source(source.array, mask.array, scaling)
    for window in windows.needed(mask.array > 0):
        expected = scale(windows.read(source.array, window))
        start = [axis.starts[at] for axis, at in zip(windows.axes, window, strict=True)]
        got, _, _ = case.read(ChunkCache(ROOMY), (start[0] - 2, start[1], start[2]), (5, 64, 32))
        np.testing.assert_array_equal(got, expected)


def test_a_patch_is_what_its_place_says(case):
    pair = case()
    batch = sampler(pair).batch(0)
    for row, (z, y, x) in enumerate(batch.starts):
        source, ct, mask = pair.read(ChunkCache(ROOMY), (z, y, x), (3, 16, 24))
        np.testing.assert_array_equal(batch.source[row].numpy(), source)
        np.testing.assert_array_equal(
            batch.target[row].numpy(), scale_target(ct[1:2], TargetScaling())
        )
        np.testing.assert_array_equal(batch.mask[row].numpy(), mask[1:2])
    assert batch.source.shape == (4, 3, 16, 24)
    assert batch.target.shape == batch.mask.shape == (4, 1, 16, 24)


def test_every_patch_is_drawn_around_the_body(case):
    pair = case()
    for number in range(30):
        assert sampler(pair).batch(number).mask.flatten(1).any(dim=1).all()


def test_every_voxel_of_the_body_is_equally_likely(case):
    pair = case()
    draw = sampler(pair)
    rng = np.random.default_rng(0)
    middles = np.array([draw._middle(pair, rng) for _ in range(3000)])
    mask = np.asarray(pair.arrays["mask"]) > 0
    assert mask[tuple(middles.T)].all()
    for axis in range(3):
        inside = np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis})))
        counts = np.bincount(middles[:, axis], minlength=mask.shape[axis])[inside]
        expected = 3000 / inside.size
        # Chi-square over its degrees of freedom: near 1 when uniform.
        assert ((counts - expected) ** 2 / expected).sum() / (inside.size - 1) < 2


def test_a_patch_larger_than_the_scan_repeats_edges_and_has_no_mask_there(case):
    pair = case()
    batch = sampler(pair, size=(64, 64), batch=1).batch(0)
    ((_, y, x),) = batch.starts
    assert (y, x) == (-12, -10)
    assert not batch.mask[0, 0, :12].any()
    torch.testing.assert_close(batch.source[0, :, 0], batch.source[0, :, 12])


def test_the_same_seed_and_step_give_the_same_batch_and_others_do_not(case):
    pair = case()
    first, again, other = (sampler(pair).batch(n) for n in (4, 4, 5))
    assert torch.equal(first.source, again.source)
    assert not torch.equal(first.source, other.source)


def test_flips_turn_source_target_and_mask_together(case):
    pair = case()
    turned = [sampler(pair, flips=("y", "x"), batch=1).batch(n) for n in range(12)]
    seen = set()
    for batch in turned:
        source, ct, _ = pair.read(ChunkCache(ROOMY), batch.starts[0], (3, 16, 24))
        for axes in ((), (1,), (2,), (1, 2)):
            if np.array_equal(np.flip(source, axes), batch.source[0].numpy()):
                seen.add(axes)
                expected = np.flip(scale_target(ct[1:2], TargetScaling()), axes)
                np.testing.assert_array_equal(batch.target[0].numpy(), expected)
    assert seen == {(), (1,), (2,), (1, 2)}


def test_three_dimensional_patches_have_one_channel(case):
    batch = sampler(case(), size=(8, 16, 16), slices=1).batch(0)
    assert batch.source.shape == batch.target.shape == (4, 1, 8, 16, 16)


def test_cases_of_different_voxel_size_are_refused(case):
    with pytest.raises(DataError, match="one voxel size"):
        sampler(case("a"), case("b", spacing_mm=(3.0, 1.0, 1.0)))


def test_a_case_without_manifest_is_refused(stored, tmp_path):
    files = stored(tmp_path, "a")
    (files["ct"] / "manifest.json").unlink()
    with pytest.raises(MachineError, match="manifest"):
        open_case("a", "thorax", files, SourceScaling())


def test_batches_made_ahead_come_in_order_and_their_faults_come_through():
    assert list(ahead(lambda n: n * n, range(3, 8))) == [9, 16, 25, 36, 49]

    def make(number):
        if number == 2:
            raise DataError("never two")
        return number

    got = []
    with pytest.raises(DataError, match="never two"):
        got.extend(ahead(make, range(5)))


def test_a_suspect_pair_is_drawn_as_rarely_as_its_weight_says(case):
    pairs = case("a"), case("b", seed=1)
    draw = sampler(*pairs, batch=8, weights={"b": 0.25})
    drawn = [name for number in range(50) for name in draw.batch(number).cases]
    # Of 400 draws a fifth is 80, with a standard deviation of 8.
    assert 48 < drawn.count("b") < 112


def test_equal_weights_leave_every_batch_as_it_was(case):
    pairs = case("a"), case("b", seed=1)
    plain, weighted = sampler(*pairs), sampler(*pairs, weights={"a": 0.5, "b": 0.5})
    assert plain.batch(3).cases == weighted.batch(3).cases
    assert torch.equal(plain.batch(3).source, weighted.batch(3).source)
