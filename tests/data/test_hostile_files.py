"""A file made to harm is refused, whatever it tries: the caller lives and nothing leaks."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from synthct.data.errors import DataError, MachineError
from synthct.data.readers import find, read_scan
from synthct.data.readers.process import call, pool
from synthct.data.volume import Modality
from tests.fixtures.hostile import BUILDERS
from tests.fixtures.hostile.base import CANARY

PEAK_BYTES = 1_500_000_000


def tree(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): str(path.readlink()) if path.is_symlink()
        else hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*")) if path.is_symlink() or path.is_file()
    }  # fmt: skip


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture
def place(tmp_path):
    (tmp_path / "canary.raw").write_bytes((CANARY * 200).encode())
    (tmp_path / "source").mkdir()
    return tmp_path / "source"


def test_there_are_sixty_hostile_files():
    assert len(BUILDERS) >= 60


@pytest.mark.parametrize("name", sorted(BUILDERS))
def test_a_hostile_file_is_refused_and_harms_nothing(place, name):
    path = BUILDERS[name](place)
    before, resident = tree(place.parent), resident_bytes()
    with pytest.raises(DataError) as caught:
        read_scan(path, Modality.CT)
    assert pool.last_peak_bytes + max(0, resident_bytes() - resident) < PEAK_BYTES
    assert CANARY not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert tree(place.parent) == before
    rows = find(path)  # a listing survives it too, and tells no more
    assert CANARY not in repr([row.as_json() for row in rows])
    assert tree(place.parent) == before


def test_the_process_is_the_same_after_a_hundred_refusals(place):
    path = BUILDERS["images: mha of absurd size"](place)
    for _ in range(100):
        with pytest.raises(DataError, match="at most"):
            read_scan(path, Modality.CT)
    assert len(pool._idle) == 1


def opens(path: str) -> str:
    return Path(path).read_text()


def writes(path: str) -> None:
    Path(path).write_text("x")


def takes_memory() -> int:
    return len(bytearray(4 << 30))


def never_ends() -> None:
    while True:
        pass


def dies() -> None:
    os.kill(os.getpid(), 11)


def counts() -> int:
    return os.getpid()


def test_a_reader_cannot_open_what_it_was_not_given(place):
    canary = place.parent / "canary.raw"
    with pytest.raises(MachineError, match="PermissionError"):
        call(opens, reads=[place], path=str(canary))
    assert CANARY in call(opens, reads=[canary], path=str(canary))


def test_a_reader_cannot_write_unless_it_was_given_a_folder(place):
    with pytest.raises(MachineError, match="PermissionError"):
        call(writes, reads=[place], path=str(place / "new"))
    call(writes, reads=[], writes=[place], path=str(place / "new"))
    assert (place / "new").read_text() == "x"


def test_a_reader_that_wants_four_gigabytes_is_refused_them(place):
    with pytest.raises(DataError, match="memory") as caught:
        call(takes_memory, reads=[place])
    assert caught.value.code == "too-large"


def test_a_reader_that_never_ends_is_ended(place, monkeypatch):
    monkeypatch.setattr(pool, "CPU_S", 0.2)
    with pytest.raises(DataError, match="takes too long"):
        call(never_ends, reads=[place])


def test_a_reader_that_dies_takes_nobody_with_it(place):
    with pytest.raises(DataError, match="crashes its reader"):
        call(dies, reads=[place])
    assert call(counts, reads=[place]) != os.getpid()


def test_two_requests_share_no_process(place):
    assert call(counts, reads=[place]) != call(counts, reads=[place])
