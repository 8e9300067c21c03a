"""A stored volume is there whole or not at all, and damage is found before a voxel is used."""

from __future__ import annotations

import json
import shutil

import fsspec
import numpy as np
import pytest
import zarr

from synthct.data.errors import MachineError
from synthct.data.files import content_hash
from synthct.data.store.volumes import (
    open_array,
    read_displacement,
    read_grid,
    read_volume,
    write_displacement,
    write_volume,
)
from synthct.data.volume import Displacement, Grid, Modality, Volume


@pytest.fixture
def stored(tmp_path, oblique):
    write_volume(tmp_path / "ct.zarr", oblique)
    return tmp_path / "ct.zarr"


@pytest.mark.parametrize("dtype", ["i2", "f4", "u1", "?"])
def test_voxels_place_and_modality_come_back(tmp_path, oblique, dtype):
    volume = Volume((oblique.array > 0).astype(dtype), oblique.grid, Modality.MASK)
    write_volume(tmp_path / "m.zarr", volume)
    back = read_volume(tmp_path / "m.zarr")
    assert np.array_equal(back.array, volume.array)
    assert back.grid == volume.grid == read_grid(tmp_path / "m.zarr")
    assert back.modality is Modality.MASK


def test_a_volume_larger_than_one_shard_comes_back(tmp_path, monkeypatch):
    monkeypatch.setattr("synthct.data.store.volumes.SHARD_VOXELS", 16 * 64 * 128)
    values = np.random.default_rng(0).integers(-1024, 3000, (50, 70, 90)).astype(np.int16)
    write_volume(
        tmp_path / "v.zarr", Volume(values, Grid(values.shape, (1.0, 1.0, 1.0)), Modality.CT)
    )
    assert len(list((tmp_path / "v.zarr" / "0" / "c").rglob("0"))) > 1
    assert np.array_equal(read_volume(tmp_path / "v.zarr").array, values)


def test_a_patch_is_what_the_volume_holds(stored, oblique):
    patch = open_array(stored)[2:7, 3:11, 4:20]
    assert np.array_equal(patch, oblique.array[2:7, 3:11, 4:20])


def test_displacements_come_back(tmp_path, oblique):
    vectors = np.random.default_rng(0).normal(size=(3, *oblique.grid.shape)).astype(np.float32)
    write_displacement(tmp_path / "u.zarr", Displacement(vectors, oblique.grid))
    assert np.array_equal(read_displacement(tmp_path / "u.zarr").vectors, vectors)


def test_the_same_volume_gives_the_same_bytes(tmp_path, oblique):
    for name in ("a", "b"):
        write_volume(tmp_path / name / "v.zarr", oblique)
    assert content_hash(tmp_path / "a") == content_hash(tmp_path / "b")
    files = [sorted(p.relative_to(tmp_path / n) for p in (tmp_path / n).rglob("*")) for n in "ab"]
    assert files[0] == files[1]
    for file in files[0]:
        if (tmp_path / "a" / file).is_file():
            assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_other_programs_see_an_ome_zarr_image(stored, oblique):
    attributes = json.loads((stored / "zarr.json").read_text())["attributes"]["ome"]
    scale = attributes["multiscales"][0]["datasets"][0]["coordinateTransformations"][0]["scale"]
    assert attributes["version"] == "0.5"
    assert scale == list(oblique.grid.spacing_mm)
    assert [axis["name"] for axis in attributes["multiscales"][0]["axes"]] == ["z", "y", "x"]


@pytest.mark.parametrize("kind", ["volume", "displacement"])
def test_what_is_stored_is_valid_ome_zarr_and_opens_in_its_reader(tmp_path, oblique, kind):
    models = pytest.importorskip("ome_zarr_models.v05", reason="pip install ome-zarr-models")
    ome_zarr = pytest.importorskip("ome_zarr.reader", reason="pip install ome-zarr")
    path, lead = tmp_path / "v.zarr", 0 if kind == "volume" else 1
    if kind == "volume":
        write_volume(path, oblique)
        stored = oblique.array
    else:
        stored = np.random.default_rng(0).normal(size=(3, *oblique.grid.shape)).astype(np.float32)
        write_displacement(path, Displacement(stored, oblique.grid))
    image = models.Image.from_zarr(zarr.open_group(str(path), mode="r"))
    assert image.ome_attributes.version == "0.5"
    from ome_zarr.io import parse_url

    (node,) = ome_zarr.Reader(parse_url(str(path)))()
    assert np.array_equal(np.asarray(node.data[0]), stored)
    scale = node.metadata["coordinateTransformations"][0][0]["scale"]
    assert scale == [1.0] * lead + list(oblique.grid.spacing_mm)


def test_every_flip_truncation_and_deletion_is_found_and_named(stored, tmp_path):
    rng = np.random.default_rng(11)
    files = sorted(path for path in stored.rglob("*") if path.is_file())
    assert {file.name for file in files} == {"zarr.json", "0", "manifest.json"}
    missed, unnamed = [], []
    for number in range(120):
        copy = tmp_path / "damaged.zarr"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(stored, copy)
        file = copy / files[number % len(files)].relative_to(stored)
        data = bytearray(file.read_bytes())
        kind = ("flip", "cut", "delete", "append")[number // len(files) % 4]
        if kind == "flip":
            data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
        elif kind == "cut":
            data = data[: int(rng.integers(len(data)))]
        elif kind == "append":
            data += b"x"
        file.unlink()
        if kind != "delete":
            file.write_bytes(bytes(data))
        try:
            read_volume(copy)
            missed.append((kind, file.name))
        except MachineError as fault:
            unnamed += [] if fault.where.startswith(str(copy)) else [str(fault)]
    assert missed == []
    assert unnamed == []


def test_a_shard_of_another_volume_is_found(tmp_path, stored, oblique):
    write_volume(
        tmp_path / "other.zarr", Volume(oblique.array[::-1].copy(), oblique.grid, Modality.CT)
    )
    shard = next(
        path.relative_to(stored) for path in (stored / "0" / "c").rglob("*") if path.is_file()
    )
    shutil.copy(tmp_path / "other.zarr" / shard, stored / shard)
    with pytest.raises(MachineError, match=str(shard)):
        read_volume(stored)


def test_a_missing_shard_does_not_read_as_zeros(stored):
    shard = next(path for path in (stored / "0" / "c").rglob("*") if path.is_file())
    shard.unlink()
    for reader in (read_volume, open_array):
        with pytest.raises(MachineError, match="is missing"):
            reader(stored)


def test_a_flip_is_found_when_only_a_patch_is_read(stored):
    shard = next(path for path in (stored / "0" / "c").rglob("*") if path.is_file())
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(bytes(data))
    array = open_array(stored)
    with pytest.raises(Exception, match=r"(?i)checksum|crc"):
        array[...]


def test_a_changed_place_is_found_without_reading_voxels(stored):
    text = (stored / "zarr.json").read_text()
    (stored / "zarr.json").write_text(text.replace("0.9", "0.8"))
    with pytest.raises(MachineError, match=r"zarr\.json"):
        read_grid(stored)


def test_a_volume_that_was_not_finished_is_no_volume(stored):
    (stored / "manifest.json").unlink()
    for reader in (read_volume, open_array, read_grid):
        with pytest.raises(MachineError, match="manifest"):
            reader(stored)


def test_a_writer_that_dies_leaves_the_old_volume(stored, oblique, monkeypatch):
    monkeypatch.setattr("synthct.data.store.volumes._manifest", lambda folder: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_volume(stored, Volume(oblique.array * 0, oblique.grid, Modality.CT))
    assert np.array_equal(read_volume(stored).array, oblique.array)
    assert [path.name for path in stored.parent.iterdir()] == ["ct.zarr"]


def test_a_manifest_cannot_name_files_outside(stored):
    manifest = json.loads((stored / "manifest.json").read_text())
    manifest["files"]["../secret"] = {"sha256": "0", "bytes": 1}
    (stored / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(MachineError, match="outside"):
        read_volume(stored)


@pytest.mark.parametrize("kind", ["memory", "s3"])
def test_the_same_code_writes_to_an_object_store(request, tmp_path, oblique, kind):
    root = "memory://bucket" if kind == "memory" else request.getfixturevalue("s3")
    url = f"{root}/{tmp_path.name}/ct.zarr"
    write_volume(url, oblique)
    assert np.array_equal(read_volume(url).array, oblique.array)
    assert read_grid(url) == oblique.grid
    assert np.array_equal(open_array(url)[1:3, 2:9, 3:7], oblique.array[1:3, 2:9, 3:7])
    system, path = fsspec.url_to_fs(url)
    shard = next(name for name in system.find(f"{path}/0/c"))
    system.pipe_file(shard, system.cat_file(shard)[:-1] + b"x")
    with pytest.raises(MachineError, match="hash"):
        read_volume(url)
    system.rm_file(f"{path}/manifest.json")
    with pytest.raises(MachineError, match="manifest"):
        read_volume(url)
