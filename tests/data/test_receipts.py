"""Arrays whose voxels lie elsewhere: same hash, same voxels, and nothing in use is lost."""

from __future__ import annotations

import gc
import hashlib
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from synthct.data.errors import MachineError, UsageError
from synthct.data.files import RECEIPT, content_hash
from synthct.data.readers import describe, read_scan
from synthct.data.store import local_copies as copies
from synthct.data.store import outage
from synthct.data.store.offload import move_arrays
from synthct.data.store.receipts import arrays_url
from synthct.data.store.volumes import (
    open_array,
    read_displacement,
    read_grid,
    read_volume,
    write_displacement,
    write_volume,
)
from synthct.data.volume import Displacement, Modality, Volume
from tests.fixtures.fault_proxy import Proxy


@pytest.fixture(autouse=True)
def _own_copies(tmp_path, monkeypatch):
    monkeypatch.setenv("SYNTHCT_ARRAYS_COPIES", str(tmp_path / "copies"))


@pytest.fixture(params=["folder", "s3"])
def prefix(request, tmp_path, monkeypatch):
    """Where the voxels go, a folder or a bucket; already in the environment."""
    url = str(tmp_path / "objects")
    if request.param == "s3":
        url = f"{request.getfixturevalue('s3')}/{tmp_path.name}"
    monkeypatch.setenv("SYNTHCT_ARRAYS", url)
    return url


@pytest.fixture
def folder_prefix(tmp_path, monkeypatch):
    monkeypatch.setenv("SYNTHCT_ARRAYS", str(tmp_path / "objects"))
    return str(tmp_path / "objects")


@pytest.fixture
def stored(tmp_path, oblique):
    """A unit's folder with one volume, not moved yet."""
    write_volume(tmp_path / "unit" / "ct.zarr", oblique)
    return tmp_path / "unit" / "ct.zarr"


def moved(stored, prefix):
    assert move_arrays(stored.parent, prefix) == 1
    return stored


def objects(prefix):
    return [file for file in Path(prefix).rglob("*") if file.is_file()]


def held_copies(tmp_path):
    return list((tmp_path / "copies").glob("??/*.zarr"))


def test_moving_the_voxels_changes_a_hash_a_grid_or_a_voxel(stored, prefix, oblique):
    write_volume(stored.parent / "deep" / "mask.zarr", oblique)
    before = [content_hash(path) for path in (stored.parent, stored)]
    assert move_arrays(stored.parent, prefix) == 2
    assert sorted(f.relative_to(stored).as_posix() for f in stored.rglob("*") if f.is_file()) == [
        "0/zarr.json", "manifest.json", RECEIPT, "zarr.json",
    ]  # fmt: skip
    assert [content_hash(path) for path in (stored.parent, stored)] == before
    assert read_grid(stored) == oblique.grid
    back = read_volume(stored)
    assert back.modality is Modality.CT
    assert back.array.dtype == oblique.array.dtype
    assert np.array_equal(back.array, oblique.array)
    assert np.array_equal(open_array(stored)[3:9, 2:5, 7:20], oblique.array[3:9, 2:5, 7:20])
    assert move_arrays(stored.parent, prefix) == 0, "what was moved stays"


def test_a_displacement_comes_back_with_other_vectors(tmp_path, folder_prefix, oblique):
    vectors = np.random.default_rng(2).normal(size=(3, *oblique.grid.shape)).astype(np.float32)
    write_displacement(tmp_path / "unit/displacement.zarr", Displacement(vectors, oblique.grid))
    move_arrays(tmp_path / "unit", folder_prefix)
    back = read_displacement(tmp_path / "unit/displacement.zarr")
    assert np.array_equal(back.vectors, vectors)


def test_an_array_whose_voxels_lie_elsewhere_is_no_scan_for_a_prediction(
    stored, folder_prefix, oblique
):
    moved(stored, folder_prefix)
    assert describe(stored).grid == oblique.grid
    assert np.array_equal(read_scan(stored, Modality.CT).array, oblique.array)


def test_receipts_depend_on_the_bucket(stored, tmp_path, monkeypatch, oblique):
    write_volume(tmp_path / "other" / "ct.zarr", oblique)
    move_arrays(stored.parent, str(tmp_path / "one bucket"))
    move_arrays(tmp_path / "other", str(tmp_path / "another"))
    assert (stored / RECEIPT).read_bytes() == (tmp_path / "other/ct.zarr" / RECEIPT).read_bytes()
    monkeypatch.setenv("SYNTHCT_ARRAYS", str(tmp_path / "another"))
    assert np.array_equal(read_volume(stored).array, oblique.array)


class TestNothingWrongIsRead:
    def told(self, action):
        with pytest.raises(MachineError) as raised:
            action()
        return raised.value

    @pytest.mark.parametrize("reader", [read_volume, open_array])
    def test_an_object_that_is_gone_reads_as_zeros(self, stored, prefix, reader):
        moved(stored, prefix)
        import fsspec

        system, path = fsspec.url_to_fs(prefix)
        system.rm(path, recursive=True)
        system.invalidate_cache()
        fault = self.told(lambda: reader(stored))
        assert fault.code == "array-missing"
        assert prefix in fault.where
        assert "restore" in fault.remedy

    def test_an_object_with_other_bytes_is_taken(self, stored, folder_prefix, tmp_path):
        moved(stored, folder_prefix)
        (shard,) = objects(folder_prefix)
        shard.write_bytes(shard.read_bytes()[:-1] + b"x")
        assert self.told(lambda: read_volume(stored)).code == "store-damaged"
        assert held_copies(tmp_path) == []
        assert list((tmp_path / "copies").glob(".building.*")) == []

    def test_a_receipt_of_another_array_is_followed(self, stored, folder_prefix):
        moved(stored, folder_prefix)
        text = (stored / RECEIPT).read_text()
        (stored / RECEIPT).write_text(text.replace('"object": "', '"object": "../'))
        assert self.told(lambda: read_volume(stored)).code == "store-damaged"

    def test_a_reader_without_the_prefix_gets_no_useful_message(
        self, stored, folder_prefix, monkeypatch
    ):
        moved(stored, folder_prefix)
        monkeypatch.delenv("SYNTHCT_ARRAYS")
        fault = self.told(lambda: read_volume(stored))
        assert fault.code == "arrays-nowhere"
        assert "SYNTHCT_ARRAYS" in fault.remedy

    def test_a_damaged_volume_is_moved(self, stored, folder_prefix):
        shard = next(file for file in stored.glob("0/c/**/*") if file.is_file())
        shard.write_bytes(shard.read_bytes()[:-1])
        fault = self.told(lambda: move_arrays(stored.parent, folder_prefix))
        assert fault.code == "store-damaged"
        assert shard.exists()
        assert objects(folder_prefix) == []

    def test_a_copy_that_was_spoilt_on_this_disk_is_believed(
        self, stored, folder_prefix, tmp_path, oblique
    ):
        moved(stored, folder_prefix)
        read_volume(stored)
        shard = next(f for f in held_copies(tmp_path)[0].glob("0/c/**/*") if f.is_file())
        shard.write_bytes(shard.read_bytes()[:-1] + b"x")
        assert np.array_equal(read_volume(stored).array, oblique.array)

    def test_an_address_of_another_kind_is_taken_for_a_folder(self):
        with pytest.raises(UsageError, match=r"SYNTHCT_ARRAYS: .*ftp://x"):
            arrays_url("ftp://x")


class TestCopies:
    def volumes(self, tmp_path, oblique, count):
        for number in range(count):
            array = np.full_like(oblique.array, number)
            array[0, 0, 0] = number + 1
            write_volume(tmp_path / f"unit/{number}.zarr", Volume(array, oblique.grid, Modality.CT))
        move_arrays(tmp_path / "unit", str(tmp_path / "objects"))
        return [tmp_path / f"unit/{number}.zarr" for number in range(count)]

    def test_an_array_that_is_read_patch_by_patch_is_evicted_under_its_reader(
        self, tmp_path, folder_prefix, oblique, monkeypatch
    ):
        monkeypatch.setenv("SYNTHCT_ARRAYS_COPIES_GB", "0.000001")
        first, *others = self.volumes(tmp_path, oblique, 4)
        array = open_array(first)
        for other in others:
            read_volume(other)
        assert len(held_copies(tmp_path)) == 2, "the one that is read, and the newest"
        assert array[5, 5, 5] == 0
        assert array[0, 0, 0] == 1
        del array
        gc.collect()
        read_volume(others[0])
        assert len(held_copies(tmp_path)) == 1, "nobody reads the first any more"

    def test_the_copies_grow_without_bound_or_lose_the_one_used_last(
        self, tmp_path, folder_prefix, oblique, monkeypatch
    ):
        paths = self.volumes(tmp_path, oblique, 4)
        read_volume(paths[0])
        (one,) = held_copies(tmp_path)
        size = sum(file.stat().st_size for file in one.rglob("*") if file.is_file())
        monkeypatch.setenv("SYNTHCT_ARRAYS_COPIES_GB", str(2.5 * size / 1e9))
        for path in (paths[1], paths[0], paths[2]):
            time.sleep(0.02)
            read_volume(path)
        assert one.exists(), "used after the second, which went"
        assert len(held_copies(tmp_path)) == 2
        read_volume(paths[3])
        assert not one.exists()
        assert len(held_copies(tmp_path)) == 2

    def test_readers_in_several_processes_fetch_or_see_half_a_copy(
        self, tmp_path, folder_prefix, stored, oblique
    ):
        moved(stored, folder_prefix)
        code = (
            "import hashlib, sys; from synthct.data.store.volumes import read_volume;"
            "print(hashlib.sha256(read_volume(sys.argv[1]).array.tobytes()).hexdigest())"
        )
        running = [
            subprocess.Popen(
                [sys.executable, "-c", code, str(stored)], stdout=subprocess.PIPE, text=True
            )
            for _ in range(3)
        ]
        said = {process.communicate(timeout=120)[0].strip() for process in running}
        assert said == {hashlib.sha256(oblique.array.tobytes()).hexdigest()}
        assert len(held_copies(tmp_path)) == 1

    def test_a_fetch_that_was_killed_is_taken_for_a_copy(
        self, tmp_path, folder_prefix, stored, oblique, monkeypatch
    ):
        moved(stored, folder_prefix)
        with monkeypatch.context() as broken:
            broken.setattr(copies, "_fetch_shard", lambda *_: sys.exit(9))
            broken.setattr(copies.shutil, "rmtree", lambda *_, **__: None)  # no time to tidy up
            with pytest.raises(SystemExit):
                read_volume(stored)
        assert len(list((tmp_path / "copies").glob(".building.*"))) == 1
        assert np.array_equal(read_volume(stored).array, oblique.array)
        assert list((tmp_path / "copies").glob(".building.*")) == []


class TestIllStores:
    @pytest.fixture
    def proxy(self, s3, s3_server, tmp_path, monkeypatch):
        import s3fs

        proxy = Proxy(int(s3_server["AWS_ENDPOINT_URL"].rsplit(":", 1)[1]))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("SYNTHCT_ARRAYS", f"{s3}/{tmp_path.name}")
        s3fs.S3FileSystem.clear_instance_cache()
        yield proxy
        proxy.close()

    @pytest.mark.parametrize(
        "kind",
        ["503", "short", *(pytest.param(k, marks=pytest.mark.slow) for k in ("reset", "slow"))],
    )
    def test_a_store_that_is_ill_for_a_while_loses_a_voxel(self, kind, proxy, stored, oblique):
        proxy.misbehave(kind, 2)
        moved(stored, arrays_url())
        proxy.misbehave(kind, 2)
        assert np.array_equal(read_volume(stored).array, oblique.array)
        assert proxy.spoilt >= 3, "the proxy did misbehave"

    @pytest.mark.parametrize(("kind", "code"), [("403", "storage-denied"), ("503", "storage-away")])
    def test_a_store_that_refuses_or_stays_away_leaves_the_voxels_nowhere(
        self, kind, code, proxy, stored, oblique, monkeypatch, tmp_path
    ):
        monkeypatch.setattr(outage, "PATIENCE_S", 1.0)
        proxy.misbehave(kind, 10_000)
        with pytest.raises(MachineError) as caught:
            move_arrays(stored.parent, arrays_url())
        assert caught.value.code == code
        assert np.array_equal(read_volume(stored).array, oblique.array), "still here"
        proxy.misbehave("", 0)
        moved(stored, arrays_url())
        proxy.misbehave(kind, 10_000)
        with pytest.raises(MachineError) as caught:
            read_volume(stored)
        assert caught.value.code == code
        assert held_copies(tmp_path) == []
