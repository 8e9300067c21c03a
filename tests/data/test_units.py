"""The result cache keeps whole units or none, in a folder and on S3 with the same promises."""

from __future__ import annotations

import pytest

from synthct.data.errors import UsageError
from synthct.data.store.result_cache import LocalResults, open_result_cache

KEY = "ab" + "0" * 62


@pytest.fixture(params=["folder", "s3"])
def store(request, tmp_path):
    if request.param == "folder":
        return open_result_cache(f"file://{tmp_path / 'store'}")
    return open_result_cache(f"{request.getfixturevalue('s3')}/{tmp_path.name}")


@pytest.fixture
def made(tmp_path):
    folder = tmp_path / "made"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "a.bin").write_bytes(b"\x00\xff" * 5000)
    (folder / "b.txt").write_text("b")
    return folder


def test_a_published_unit_comes_back_with_other_bytes(store, made, tmp_path):
    assert not store.has(KEY)
    store.publish(KEY, made)
    assert store.has(KEY)
    assert store.fetch(KEY, tmp_path / "back")
    assert (tmp_path / "back/deep/a.bin").read_bytes() == (made / "deep/a.bin").read_bytes()
    assert list(store.keys()) == [KEY]


def test_the_second_to_publish_replaces_the_first(store, made, tmp_path):
    store.publish(KEY, made)
    (made / "b.txt").write_text("other")
    store.publish(KEY, made)
    store.fetch(KEY, tmp_path / "back")
    assert (tmp_path / "back/b.txt").read_text() == "b"


def test_a_removed_unit_is_still_found(store, made, tmp_path):
    store.publish(KEY, made)
    store.remove(KEY)
    assert not store.has(KEY)
    assert not store.fetch(KEY, tmp_path / "back")
    assert list(store.keys()) == []


def test_a_damaged_unit_is_handed_out(made, tmp_path):
    store = LocalResults(tmp_path / "store")
    store.root.mkdir()
    store.publish(KEY, made)
    file = tmp_path / "store/ab" / KEY / "files/b.txt"
    file.write_text("c")
    assert not store.fetch(KEY, tmp_path / "back")
    assert not (tmp_path / "back").exists()
    assert not store.has(KEY), "it is dropped, so that the unit is computed again"


def test_a_store_of_an_unknown_kind_is_taken_for_a_folder():
    with pytest.raises(UsageError, match=r"SYNTHCT_UNITS: .*got ftp://x"):
        open_result_cache("ftp://x")
