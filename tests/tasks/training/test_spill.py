from __future__ import annotations

import os
import threading
from pathlib import Path

import numpy as np
import pytest

from synthct.data.store.volumes import open_array, write_volume
from synthct.data.volume import Grid, Modality, Volume
from synthct.tasks.training import chunks as module
from synthct.tasks.training.chunks import ChunkCache, Spill

SMALL = 200_000
"""Bytes: one chunk of int16 fits into memory."""


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    path = tmp_path_factory.mktemp("store") / "big.zarr"
    array = np.random.default_rng(0).integers(-1000, 1000, (40, 130, 70)).astype(np.int16)
    write_volume(path, Volume(array, Grid(array.shape, (1.0, 1.0, 1.0)), Modality.CT))
    return open_array(path), array


def decodings(cache, stored, monkeypatch, rounds=3):
    """How many chunks were decompressed while the whole array was read several times."""
    count = 0
    real = type(stored).__getitem__

    def counted(self, where):
        nonlocal count
        count += 1
        return real(self, where)

    monkeypatch.setattr(type(stored), "__getitem__", counted)
    for _ in range(rounds):
        box = cache.read("x", stored, (0, 0, 0), stored.shape)
    return count, box


def test_a_chunk_without_room_in_memory_is_decoded_once(stored, tmp_path, monkeypatch):
    array, voxels = stored
    chunks = int(np.prod([-(-n // c) for n, c in zip(array.shape, array.chunks, strict=True)]))
    count, box = decodings(ChunkCache(SMALL, Spill(tmp_path, 1 << 24)), array, monkeypatch)
    assert count == chunks
    np.testing.assert_array_equal(box, voxels)


def test_a_chunk_larger_than_the_memory_bound_is_spilt_too(stored, tmp_path, monkeypatch):
    array, voxels = stored
    cache = ChunkCache(1, Spill(tmp_path, 1 << 24))
    count, box = decodings(cache, array, monkeypatch)
    assert count == 3 * 2 * 3  # 40 x 130 x 70 voxels in chunks of 16 x 64 x 64
    assert cache.bytes == 0
    np.testing.assert_array_equal(box, voxels)


def test_a_bounded_scratch_file_stays_within_its_bound_and_voxels_stay_right(stored, tmp_path):
    array, voxels = stored
    scratch = Spill(tmp_path, 300_000)
    cache = ChunkCache(SMALL, scratch)
    for _ in range(3):
        box = cache.read("x", array, (0, 0, 0), array.shape)
        np.testing.assert_array_equal(box, voxels)
    assert 0 < scratch.bytes <= 300_000


def test_a_disk_that_fills_ends_the_scratch_file_and_not_the_training(
    stored, tmp_path, monkeypatch
):
    array, voxels = stored

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    scratch = Spill(tmp_path, 1 << 24)
    box = ChunkCache(1, scratch).read("x", array, (0, 0, 0), array.shape)
    np.testing.assert_array_equal(box, voxels)
    assert scratch.bytes == 0
    monkeypatch.undo()
    scratch.put(("x", (0, 0, 0)), voxels)
    assert scratch.get(("x", (0, 0, 0))) is None, "it does not try again on a full disk"


def test_a_nearly_full_disk_is_left_alone(tmp_path, monkeypatch):
    usage = module.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(
        module.shutil, "disk_usage", lambda _: usage._replace(free=usage.total // 20)
    )
    scratch = Spill(tmp_path, 1 << 24)
    scratch.put(("x", (0,)), np.zeros(10))
    assert scratch.get(("x", (0,))) is None


def test_the_scratch_file_leaves_nothing_behind(tmp_path):
    scratch = Spill(tmp_path, 1 << 24)
    scratch.put(("x", (0,)), np.arange(5.0))
    np.testing.assert_array_equal(scratch.get(("x", (0,))), np.arange(5.0))
    assert not any(tmp_path.iterdir()), "a kill would leave it"


def resident_bytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_dropped_chunks_go_back_to_the_system_so_that_max_ram_gb_holds():
    size = 100_000  # small enough that the heap would keep it
    chunks = [module.anonymous_memory((size,), np.dtype(np.uint8)) for _ in range(400)]
    for chunk in chunks:
        chunk += 1
    before = resident_bytes()
    del chunks[::2], chunk
    assert before - resident_bytes() > 0.8 * 200 * size


def test_threads_read_whole_chunks(tmp_path):
    scratch = Spill(tmp_path, 1 << 24)
    wrong: list[int] = []

    def work(first):
        for number in range(first, 400, 4):
            scratch.put(("x", (number,)), np.full(1000, number))
            for other in range(0, number, 37):
                found = scratch.get(("x", (other,)))
                if found is not None and not (found == other).all():
                    wrong.append(other)

    threads = [threading.Thread(target=work, args=(first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert all((scratch.get(("x", (n,))) == n).all() for n in range(400))
