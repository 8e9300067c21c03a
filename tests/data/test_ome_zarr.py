"""OME-Zarr of any writer is read in its true position, or refused; voxels are never invented."""

from __future__ import annotations

import numpy as np
import pytest
import zarr
from numcodecs import Blosc

from synthct.data.errors import DataError
from synthct.data.readers import describe, find, format_of, read_scan
from synthct.data.store.volumes import write_volume
from synthct.data.volume import Grid, Modality, Volume
from tests.fixtures.outcomes import OME_ZARR, shows_read

VALUES = np.random.default_rng(0).integers(-1000, 2000, (6, 8, 10)).astype(np.int16)


def write(path, values=VALUES, *, version="0.5", unit="millimeter", lead=(), compressors="auto",
          scale=(3.0, 0.5, 0.75), shift=(-7.0, 20.0, -30.0), orientation=None):  # fmt: skip
    group = zarr.create_group(store=str(path), zarr_format=3 if version == "0.5" else 2)
    axes = [{"name": name, "type": "space", "unit": unit} for name in "zyx"]
    for axis, value in zip(axes, orientation or (), strict=False):
        axis["orientation"] = {"type": "anatomical", "value": value}
    axes = [{"name": name, "type": "channel"} for name in lead] + axes
    ones, zeros = [1.0] * len(lead), [0.0] * len(lead)
    transformations = [
        {"type": "scale", "scale": [*ones, *scale]},
        {"type": "translation", "translation": [*zeros, *shift]},
    ]
    datasets = [{"path": "s0", "coordinateTransformations": transformations}]
    multiscales = [{"axes": axes, "datasets": datasets}]
    if version == "0.5":
        group.attrs["ome"] = {"version": "0.5", "multiscales": multiscales}
    else:
        group.attrs["multiscales"] = [{"version": version, **multiscales[0]}]
    values = values.reshape((1,) * len(lead) + values.shape)
    chunks = (1,) * len(lead) + (4, 8, 5)
    array = group.create_array("s0", shape=values.shape, dtype=values.dtype, chunks=chunks,
                               compressors=compressors, fill_value=0)  # fmt: skip
    array[...] = values
    return path


@shows_read(OME_ZARR, "OME-Zarr 0.4 or 0.5", "with its place in the patient")
@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("lead", [(), ("c",), ("t", "c")])
def test_both_versions_come_in_with_their_place(tmp_path, version, lead):
    path = write(tmp_path / "scan.ome.zarr", version=version, lead=lead)
    scan = read_scan(path, Modality.CT)
    assert format_of(path) == "ome-zarr"
    assert np.array_equal(scan.array, VALUES)
    assert scan.grid == Grid((6, 8, 10), (3.0, 0.5, 0.75), (-7.0, 20.0, -30.0))
    assert describe(path).grid == scan.grid


def test_blosc_of_old_writers_is_read(tmp_path):
    path = write(tmp_path / "scan.zarr", version="0.4", compressors=Blosc("lz4"))
    assert np.array_equal(read_scan(path, Modality.CT).array, VALUES)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_the_scale_that_an_image_has_for_all_its_resolutions_is_left_out(tmp_path, version):
    """That of the resolution comes first: 10 voxels from the start are 30, 20 and 20 mm."""
    path = write(tmp_path / "scan.zarr", version=version, scale=(1.0, 1.0, 1.0),
                 shift=(10.0, 10.0, 10.0))  # fmt: skip
    group = zarr.open_group(store=str(path), mode="r+")
    found = dict(group.attrs)
    image = (found["ome"] if version == "0.5" else found)["multiscales"][0]
    image["coordinateTransformations"] = [{"type": "scale", "scale": [3.0, 2.0, 2.0]}]
    group.attrs.update(found)
    for grid in (read_scan(path, Modality.CT).grid, describe(path).grid):
        assert grid == Grid((6, 8, 10), (3.0, 2.0, 2.0), (30.0, 20.0, 20.0))


@shows_read(OME_ZARR, "units in micrometres", "converted to mm")
@pytest.mark.parametrize("unit", ["micrometer", "um", "\N{MICRO SIGN}m"])
def test_micrometres_are_turned_into_millimetres(tmp_path, unit):
    path = write(tmp_path / "scan.zarr", unit=unit, scale=(3000, 500, 750), shift=(1, 2, 3))
    assert np.allclose(read_scan(path, Modality.CT).grid.spacing_mm, (3.0, 0.5, 0.75))
    assert np.allclose(read_scan(path, Modality.CT).grid.origin_mm, (1e-3, 2e-3, 3e-3))


def test_anatomical_axes_that_run_the_other_way_are_turned(tmp_path):
    said = ("superior-to-inferior", "anterior-to-posterior", "left-to-right")
    grid = read_scan(write(tmp_path / "scan.zarr", orientation=said), Modality.CT).grid
    assert np.diag(np.asarray(grid.direction)).tolist() == [-1.0, 1.0, -1.0]
    assert grid.origin_mm == (7.0, 20.0, 30.0)


def test_an_oblique_volume_of_our_own_store_keeps_its_directions(tmp_path, oblique):
    write_volume(tmp_path / "ct.zarr", oblique)
    back = read_scan(tmp_path / "ct.zarr", Modality.CT)
    assert np.array_equal(back.array, oblique.array)
    assert back.grid == oblique.grid


def test_a_missing_chunk_of_a_ct_does_not_become_water(tmp_path):
    path = write(tmp_path / "scan.zarr")
    next(file for file in (path / "s0").rglob("*") if file.is_file() and file.name == "1").unlink()
    with pytest.raises(DataError, match="chunks were never written"):
        read_scan(path, Modality.CT)


def test_a_background_that_its_writer_left_out_is_read_as_zero_for_mr(tmp_path):
    values = np.abs(VALUES)
    values[:, :, 3:] = 0  # the chunk from column 5 on holds nothing else, and is left out
    path = write(tmp_path / "scan.zarr", values)
    assert np.array_equal(read_scan(path, Modality.MR).array, values)


def test_two_channels_are_no_scan(tmp_path):
    group = zarr.open_group(str(write(tmp_path / "scan.zarr", lead=("c",))))
    del group["s0"]
    group.create_array("s0", shape=(2, 6, 8, 10), dtype="i2", chunks=(1, 4, 8, 5))
    with pytest.raises(DataError, match="channels"):
        read_scan(tmp_path / "scan.zarr", Modality.CT)


@pytest.mark.parametrize("unit", ["inch", "parsec"])
def test_a_unit_that_is_not_known_is_not_guessed(tmp_path, unit):
    with pytest.raises(DataError, match="unit"):
        read_scan(write(tmp_path / "scan.zarr", unit=unit), Modality.CT)


def test_a_folder_of_cases_lists_each_image_once(tmp_path, oblique):
    write(tmp_path / "a" / "ct.ome.zarr")
    write_volume(tmp_path / "b" / "mr.zarr", Volume(oblique.array, oblique.grid, Modality.MR))
    rows = find(tmp_path)
    assert [(row.place, row.format) for row in rows] == [
        ("a/ct.ome.zarr", "ome-zarr"), ("b/mr.zarr", "ome-zarr"),
    ]  # fmt: skip
    assert all(row.grid is not None for row in rows)
