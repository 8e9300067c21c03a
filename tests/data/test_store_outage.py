"""Volumes on a real S3 server behind a proxy that misbehaves: none lost, no wrong byte taken.

Time is compressed two hundredfold: ten minutes of outage last three seconds.
"""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace

import numpy as np
import pytest

from synthct.data.errors import MachineError
from synthct.data.store import outage
from synthct.data.store import remote_zarr as patient_store
from synthct.data.store.volumes import open_array, read_grid, read_volume, write_volume
from synthct.data.volume import Modality, Volume
from tests.fixtures.fault_proxy import Proxy

FASTER = 200


@pytest.fixture
def proxy(s3, s3_server, monkeypatch):
    import s3fs

    proxy = Proxy(int(s3_server["AWS_ENDPOINT_URL"].rsplit(":", 1)[1]))
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{proxy.port}")
    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)  # ours are under test, not theirs
    s3fs.S3FileSystem.clear_instance_cache()
    yield proxy
    proxy.close()


@pytest.fixture
def compressed(monkeypatch):
    quick = SimpleNamespace(
        monotonic=lambda: time.monotonic() * FASTER, sleep=lambda s: time.sleep(s / FASTER)
    )
    sleeping = SimpleNamespace(sleep=lambda s: asyncio.sleep(s / FASTER))
    monkeypatch.setattr(outage, "time", quick)
    monkeypatch.setattr(patient_store, "time", quick)
    monkeypatch.setattr(patient_store, "asyncio", sleeping)


@pytest.fixture
def url(s3, tmp_path):
    return f"{s3}/{tmp_path.name}/ct.zarr"


def test_ten_minutes_of_outage_lose_no_volume(proxy, compressed, url, oblique):
    started = time.monotonic()
    proxy.stay_away(600 / FASTER)
    write_volume(url, oblique)
    assert time.monotonic() - started > 600 / FASTER
    proxy.stay_away(600 / FASTER)
    assert np.array_equal(read_volume(url).array, oblique.array)
    assert time.monotonic() - started > 2 * 600 / FASTER
    assert proxy.spoilt > 10, "the proxy did misbehave"


@pytest.mark.slow
def test_patches_are_read_through_an_outage(proxy, compressed, url, oblique):
    write_volume(url, oblique)
    array = open_array(url)
    proxy.stay_away(300 / FASTER)
    assert np.array_equal(array[2:7, 3:11, 4:20], oblique.array[2:7, 3:11, 4:20])
    assert proxy.spoilt > 2


@pytest.mark.parametrize(
    "kind", ["503", "short", *(pytest.param(k, marks=pytest.mark.slow) for k in ("reset", "slow"))]
)
def test_each_way_to_misbehave_is_survived(proxy, compressed, url, oblique, kind):
    proxy.misbehave(kind, 3)
    write_volume(url, oblique)
    proxy.misbehave(kind, 3)
    assert np.array_equal(read_volume(url).array, oblique.array)
    assert read_grid(url) == oblique.grid
    assert proxy.spoilt >= 4


def test_a_store_that_stays_away_is_reported_and_shows_no_half_volume(
    proxy, compressed, url, oblique, monkeypatch
):
    monkeypatch.setattr(outage, "PATIENCE_S", 60.0)
    proxy.misbehave("503", 100_000)
    with pytest.raises(MachineError) as caught:
        write_volume(url, oblique)
    assert caught.value.code == "storage-away"
    assert url in caught.value.where
    proxy.misbehave("", 0)
    with pytest.raises(MachineError, match="manifest"):
        read_volume(url)


def test_a_volume_that_replaces_another_leaves_none_of_its_files(s3, url, oblique, monkeypatch):
    import fsspec

    monkeypatch.setattr("synthct.data.store.volumes.SHARD_VOXELS", 16 * 64 * 64)
    tall = Volume(np.tile(oblique.array, (3, 1, 1)), oblique.grid.crop((0, 0, 0), (36, 20, 26)),
                  Modality.CT)  # fmt: skip
    write_volume(url, tall)
    write_volume(url, oblique)
    system, path = fsspec.url_to_fs(url)
    system.invalidate_cache()
    assert len([name for name in system.find(path) if "/c/" in name]) == 1
    assert np.array_equal(read_volume(url).array, oblique.array)


class TestRefusals:
    """403 and 404 are no outage: told without a second attempt, with bucket and key."""

    @pytest.fixture(autouse=True)
    def without_pause(self, unpaused):
        pass

    def refused(self, action, *words):
        with pytest.raises(MachineError) as caught:
            action()
        for word in words:
            assert word in str(caught.value)
        return caught.value.code

    @pytest.mark.parametrize("reader", [read_volume, read_grid, open_array])
    def test_a_forbidden_read(self, proxy, url, oblique, reader):
        write_volume(url, oblique)
        proxy.misbehave("403", 100_000)
        code = self.refused(lambda: reader(url), "synthct-test", "ct.zarr/manifest.json")
        assert code == "storage-denied"

    def test_a_forbidden_write(self, proxy, url, oblique):
        proxy.misbehave("403", 100_000)
        code = self.refused(lambda: write_volume(url, oblique), "synthct-test", "ct.zarr")
        assert code == "storage-denied"

    def test_a_wrong_key(self, proxy, url, oblique, monkeypatch):
        import s3fs

        write_volume(url, oblique)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
        s3fs.S3FileSystem.clear_instance_cache()
        assert self.refused(lambda: read_volume(url), "synthct-test") == "storage-denied"

    @pytest.mark.parametrize("reader", [read_volume, read_grid, open_array])
    def test_a_volume_that_is_not_there(self, proxy, url, reader):
        code = self.refused(lambda: reader(url), "synthct-test", "ct.zarr/manifest.json", "404")
        assert code == "store-incomplete"

    def test_a_bucket_that_is_not_there(self, proxy, oblique):
        url = "s3://synthct-no-such-bucket/ct.zarr"
        self.refused(lambda: read_volume(url), "synthct-no-such-bucket", "ct.zarr")
