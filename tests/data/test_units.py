"""The result cache keeps whole units or none, in a folder and on S3 with the same promises."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import fsspec
import numpy as np
import pytest

from synthct.data.errors import MachineError, UsageError
from synthct.data.store.cache_lock import shared_lock
from synthct.data.store.result_cache import LocalResults, RemoteResults, open_result_cache
from synthct.data.store.volumes import write_volume
from synthct.data.volume import Grid, Modality, Volume

KEY = "ab" + "0" * 62
OTHER = "cd" + "0" * 62


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


def test_two_checkouts_that_publish_to_one_bucket_hand_out_a_mixture(s3, made, tmp_path):
    """Neither sees the other's lock. The second is killed before it has sent its whole unit."""
    first, second = (open_result_cache(f"{s3}/{tmp_path.name}") for _ in range(2))
    other = tmp_path / "other"
    shutil.copytree(made, other)
    (other / "deep" / "a.bin").write_bytes(b"\x01\xfe" * 5000)
    (other / "b.txt").write_text("c")

    class Killed(BaseException):
        """As SIGKILL: nothing is tidied up."""

    def dies(_):
        raise Killed

    assert not second.has(KEY), "both found nothing, so both compute"
    first.publish(KEY, made)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RemoteResults, "has", lambda *_: False)
        patch.setattr("synthct.data.store.unit_files.listing_of", dies)
        with pytest.raises(Killed):
            second.publish(KEY, other)
    with pytest.raises(MachineError, match="other bytes") as told:
        first.fetch(KEY, tmp_path / "back")
    assert told.value.code == "unit-damaged"
    assert not (tmp_path / "back").exists()
    second.publish(KEY, other)
    assert first.fetch(KEY, tmp_path / "back")
    assert (tmp_path / "back/b.txt").read_text() == "c"


def test_a_removed_unit_is_still_found(store, made, tmp_path):
    store.publish(KEY, made)
    store.remove(KEY)
    assert not store.has(KEY)
    assert not store.fetch(KEY, tmp_path / "back")
    assert list(store.keys()) == []


def flip(file):
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def voxels(tmp_path):
    """A unit that is a stored volume; the place of its only shard."""
    grid = Grid((2, 3, 4), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    folder = tmp_path / "volume"
    write_volume(folder / "ct.zarr", Volume(np.ones(grid.shape, np.int16), grid, Modality.CT))
    (shard,) = (folder / "ct.zarr").glob("0/c/0/0/0")
    return folder, shard.relative_to(folder)


DAMAGES = {
    "a flipped bit in a shard": lambda unit, shard: flip(unit / "files" / shard),
    "a missing shard": lambda unit, shard: (unit / "files" / shard).unlink(),
    "a file too many": lambda unit, shard: (unit / "files" / "more").write_text("x"),
    "no list of files": lambda unit, shard: (unit / "files.json").unlink(),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_in_the_store_is_handed_out_or_stays_for_ever(damage, tmp_path):
    store = open_result_cache(str(tmp_path / "store"))
    made, shard = voxels(tmp_path)
    store.publish(KEY, made)
    unit = tmp_path / "store/ab" / KEY
    DAMAGES[damage](unit, shard)
    with pytest.raises(MachineError) as caught:
        store.fetch(KEY, tmp_path / "back")
    assert caught.value.code == "unit-damaged"
    assert caught.value.where.startswith(str(unit / "files")), "the file is named"
    assert not (tmp_path / "back").exists()
    assert not store.has(KEY)
    store.publish(KEY, made)
    assert store.fetch(KEY, tmp_path / "back"), "made again, it is good again"
    assert (tmp_path / "back" / shard).read_bytes() == (made / shard).read_bytes()
    assert len(list((tmp_path / "store/.broken").iterdir())) == 1, "what was broken can be seen"


@pytest.mark.parametrize("fault", ["a bad sector", "a link to nothing"])
def test_a_file_that_the_disk_does_not_give_back_fails_the_same_run_for_ever(
    fault, made, tmp_path, monkeypatch
):
    store = open_result_cache(str(tmp_path / "store"))
    store.publish(KEY, made)
    file = tmp_path / "store/ab" / KEY / "files/b.txt"
    if fault == "a link to nothing":
        file.unlink()
        file.symlink_to(tmp_path / "nothing")
    else:
        opened = Path.open

        def bad(path, *args, **kwargs):
            if path == file:
                raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
            return opened(path, *args, **kwargs)

        monkeypatch.setattr(Path, "open", bad)
        monkeypatch.setattr("synthct.data.files._copy_file", lambda source, _: bad(Path(source)))
    with pytest.raises(MachineError) as caught:
        store.fetch(KEY, tmp_path / "back")
    assert (caught.value.code, caught.value.where) == ("unit-damaged", str(file))
    monkeypatch.undo()
    store.publish(KEY, made)
    assert store.fetch(KEY, tmp_path / "back")


def test_a_full_disk_is_taken_for_damage_of_the_store(made, tmp_path, monkeypatch):
    store = open_result_cache(str(tmp_path / "store"))
    store.publish(KEY, made)

    def full(source, target):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), target)

    monkeypatch.setattr("synthct.data.files._copy_file", full)
    with pytest.raises(OSError, match="No space left"):
        store.fetch(KEY, tmp_path / "back")
    assert store.has(KEY)


@pytest.mark.parametrize("lost", ["content.sha256", "files"])
def test_the_remains_of_a_unit_are_in_the_way_for_ever(lost, made, tmp_path):
    store = open_result_cache(str(tmp_path / "store"))
    store.publish(KEY, made)
    remains = tmp_path / "store/ab" / KEY / lost
    shutil.rmtree(remains) if remains.is_dir() else remains.unlink()
    assert not store.has(KEY)
    assert not store.fetch(KEY, tmp_path / "back")
    store.publish(KEY, made)
    assert store.fetch(KEY, tmp_path / "back")


def test_a_flipped_bit_on_s3_is_handed_out(s3, made, tmp_path):
    store = open_result_cache(f"{s3}/{tmp_path.name}")
    store.publish(KEY, made)
    system, path = fsspec.url_to_fs(f"{s3}/{tmp_path.name}/ab/{KEY}")
    system.pipe_file(f"{path}/files/b.txt", b"c")
    with pytest.raises(MachineError, match=r"files/b\.txt: .*other bytes") as caught:
        store.fetch(KEY, tmp_path / "back")
    assert caught.value.code == "unit-damaged"
    store.publish(KEY, made)
    assert store.fetch(KEY, tmp_path / "back")


@pytest.mark.parametrize("key", ["../" * 8 + "etc", "ab/../../x", "", "AB" * 32, "ab" * 31])
def test_a_key_leads_out_of_the_store(key, store, made, tmp_path):
    calls = (
        lambda: store.publish(key, made),
        lambda: store.has(key),
        lambda: store.fetch(key, tmp_path / "back"),
        lambda: store.remove(key),
    )
    for call in calls:
        with pytest.raises(MachineError, match="a cached result is named by a SHA-256"):
            call()


def test_a_worker_that_does_not_share_the_store_cannot_tell(store, tmp_path):
    store.leave_token("t" * 8)
    assert store.sees("t" * 8)
    assert not LocalResults(tmp_path / "elsewhere").sees("t" * 8)
    store.drop_token("t" * 8)
    assert not store.sees("t" * 8)
    assert list(store.keys()) == []


def test_a_unit_that_a_run_counts_on_stays_old(store, made):
    store.publish(KEY, made)
    if isinstance(store, LocalResults):
        os.utime(store.root / "ab" / KEY / "content.sha256", (1e9, 1e9))
        assert store.age_s(KEY) > 1e8
    store.touch(KEY)
    assert store.age_s(KEY) < 60
    store.touch("cd" + "0" * 62)  # gone meanwhile: nothing to do


@pytest.mark.parametrize(
    ("root", "folders", "files"),
    [(0o2770, 0o2770, 0o660), (0o755, 0o755, 0o644), (0o700,) * 2 + (0o600,)],
)
@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_the_umask_of_one_person_locks_the_unit_for_the_other(
    root, folders, files, umask, made, tmp_path
):
    (tmp_path / "store").mkdir()
    (tmp_path / "store").chmod(root)
    before = os.umask(umask)
    try:
        store = open_result_cache(str(tmp_path / "store"))
        store.publish(KEY, made)
        store.leave_token("t")
        store.publish(OTHER, made)
        (tmp_path / "store/cd" / OTHER / "files/b.txt").unlink()
        with shared_lock(store.place()), pytest.raises(MachineError):
            store.fetch(OTHER, tmp_path / "back")
    finally:
        os.umask(before)
    for path in (tmp_path / "store/ab").rglob("*"):
        assert oct(path.stat().st_mode & 0o7777) == oct(folders if path.is_dir() else files), path
    for name in (".runs", ".broken"):
        assert (tmp_path / "store" / name).stat().st_mode & 0o7777 == folders, name
    assert (tmp_path / "store/.in-use").stat().st_mode & 0o777 == files


def test_a_store_that_another_person_owns_is_found_out_after_hours_of_work(tmp_path):
    if os.geteuid():
        pytest.skip("only root can be two persons")
    store = tmp_path / "store"
    (store / "ab").mkdir(parents=True)
    store.chmod(0o777)
    for folder in (tmp_path, *tmp_path.parents[:3]):
        folder.chmod(folder.stat().st_mode | 0o055)
    script = (
        "import os, sys\nfrom synthct.data.store.result_cache import open_result_cache\n"
        "os.setgid(65534); os.setuid(65534)\n"
        "try: open_result_cache(sys.argv[1]).leave_token('t')\n"
        "except Exception as fault: print(fault.code, fault)\n"
    )
    told = subprocess.run(
        [sys.executable, "-c", script, str(store)], capture_output=True, text=True, check=True
    ).stdout
    assert told.startswith("units-not-writable ")
    assert f"you may not write {store}/ab" in told
    assert "chgrp" in told


def test_a_store_of_an_unknown_kind_is_taken_for_a_folder():
    with pytest.raises(UsageError, match=r"SYNTHCT_UNITS: .*ftp://x"):
        open_result_cache("ftp://x")
