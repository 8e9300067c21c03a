"""Whatever happens to the files of a stored volume is found before a voxel is used."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from synthct.data.errors import MachineError
from synthct.data.store.volumes import open_array, read_grid, read_volume, write_volume
from synthct.data.volume import Modality, Volume

KINDS = ("flip", "cut", "delete", "append", "zero", "swap")
"""One bit, the end, the file, a byte too many, 64 bytes blank, the shard of another volume."""


@pytest.fixture
def stored(tmp_path, oblique, monkeypatch):
    monkeypatch.setattr("synthct.data.store.volumes.SHARD_VOXELS", 16 * 64 * 64)
    tall = Volume(np.tile(oblique.array, (4, 1, 1)), oblique.grid.crop((0, 0, 0), (48, 20, 26)),
                  Modality.CT)  # fmt: skip
    write_volume(tmp_path / "ct.zarr", tall)
    write_volume(tmp_path / "other.zarr", tall.with_array(tall.array[::-1].copy()))
    return tmp_path / "ct.zarr"


def corrupt(stored, copy, kind, rng):
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(stored, copy)
    files = sorted(file for file in copy.rglob("*") if file.is_file())
    if kind == "swap":
        files = [file for file in files if "c" in file.relative_to(copy).parts]
    file = files[int(rng.integers(len(files)))]
    data = bytearray(file.read_bytes())
    at = int(rng.integers(len(data)))
    if kind == "flip":
        data[at] ^= 1 << int(rng.integers(8))
    elif kind == "cut":
        data = data[:at]
    elif kind == "append":
        data += b"x"
    elif kind == "zero":
        if not any(data[at : at + 64]):
            data[at] = 1
        data[at : at + 64] = bytes(len(data[at : at + 64]))
        if bytes(data) == file.read_bytes():
            data[at] ^= 1
    elif kind == "swap":
        others = [other for other in files if other.read_bytes() != data]
        twin = stored.with_name("other.zarr") / file.relative_to(copy)
        data = bytearray((others[0] if others and rng.integers(2) else twin).read_bytes())
    file.unlink()
    if kind != "delete":
        file.write_bytes(bytes(data))
    return file


def undetected(stored, tmp_path, count):
    rng = np.random.default_rng(17)
    missed, unnamed = [], []
    for number in range(count):
        kind = KINDS[number % len(KINDS)]
        file = corrupt(stored, tmp_path / "bad.zarr", kind, rng)
        try:
            read_volume(tmp_path / "bad.zarr")
            missed.append((kind, file.name))
        except MachineError as fault:
            if not fault.where.startswith(str(tmp_path / "bad.zarr")):
                unnamed.append(str(fault))
    return missed, unnamed


def test_sixty_corruptions_are_all_found_and_named(stored, tmp_path):
    assert undetected(stored, tmp_path, 60) == ([], [])


@pytest.mark.slow
def test_five_hundred_corruptions_are_all_found_and_named(stored, tmp_path):
    assert undetected(stored, tmp_path, 500) == ([], [])


@pytest.mark.parametrize("kind", ["flip", "cut", "delete", "append"])
def test_a_patch_never_holds_a_wrong_voxel(stored, tmp_path, kind):
    """Patch reads do not hash whole shards; the checksum of each chunk stands in for it."""
    whole = read_volume(stored).array
    rng = np.random.default_rng(3)
    for _ in range(12):
        corrupt(stored, tmp_path / "bad.zarr", kind, rng)
        try:
            patch = open_array(tmp_path / "bad.zarr")[...]
        except (MachineError, ValueError, RuntimeError, KeyError):
            continue
        assert np.array_equal(patch, whole)


def test_a_place_is_never_read_from_changed_metadata(stored, tmp_path):
    rng, grid = np.random.default_rng(4), read_grid(stored)
    for _ in range(15):
        file = corrupt(stored, tmp_path / "bad.zarr", "flip", rng)
        try:
            found = read_grid(tmp_path / "bad.zarr")
        except MachineError:
            continue
        assert found == grid
        assert file != tmp_path / "bad.zarr" / "zarr.json"
