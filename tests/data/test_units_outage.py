"""Units on a real S3 server behind a proxy that misbehaves: nothing lost, nothing half-visible."""

from __future__ import annotations

import pytest

from synthct.data.errors import MachineError
from synthct.data.store import outage
from synthct.data.store.result_cache import RemoteResults
from tests.fixtures.fault_proxy import Proxy

KEY = "cd" + "1" * 62


@pytest.fixture
def proxied(s3, s3_server, tmp_path, monkeypatch):
    """The proxy, and a store whose every request goes through it."""
    import s3fs

    proxy = Proxy(int(s3_server["AWS_ENDPOINT_URL"].rsplit(":", 1)[1]))
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{proxy.port}")
    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)  # ours are under test, not theirs
    s3fs.S3FileSystem.clear_instance_cache()
    yield proxy, RemoteResults(f"{s3}/{tmp_path.name}")
    proxy.close()


@pytest.fixture
def made(tmp_path):
    folder = tmp_path / "made"
    folder.mkdir()
    (folder / "a.bin").write_bytes(bytes(range(256)) * 400)
    (folder / "b.txt").write_text("b")
    return folder


@pytest.mark.parametrize(
    "kind", ["503", "reset", "slow", pytest.param("short", marks=pytest.mark.slow)]
)
def test_a_store_that_is_ill_for_a_while_loses_or_halves_a_unit(kind, proxied, made, tmp_path):
    proxy, store = proxied
    proxy.misbehave(kind, 2)
    store.publish(KEY, made)
    assert store.has(KEY)
    proxy.misbehave(kind, 2)
    assert store.fetch(KEY, tmp_path / "back")
    assert (tmp_path / "back" / "a.bin").read_bytes() == (made / "a.bin").read_bytes()
    assert proxy.spoilt >= 3, "the proxy did misbehave"


def test_a_store_that_stays_away_shows_half_a_unit_or_hangs(proxied, made, monkeypatch):
    proxy, store = proxied
    monkeypatch.setattr(outage, "PATIENCE_S", 1.0)
    proxy.misbehave("503", 10_000)
    with pytest.raises(MachineError) as caught:
        store.publish(KEY, made)
    assert caught.value.code == "storage-away"
    proxy.misbehave("", 0)
    assert not store.has(KEY)
    assert list(store.keys()) == []


def test_a_refusal_is_waited_for(proxied, made, unpaused):
    proxy, store = proxied
    proxy.misbehave("403", 10_000)
    with pytest.raises(MachineError) as caught:
        store.publish(KEY, made)
    assert caught.value.code == "storage-denied"
