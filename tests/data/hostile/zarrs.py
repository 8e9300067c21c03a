"""OME-Zarr folders."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import zarr
from numcodecs import GZip

from tests.data.hostile.base import canary, collection

BUILDERS, hostile = collection()


def _image(folder, array="0", shape=(6, 8, 10)) -> Path:
    path = folder / "scan.zarr"
    group = zarr.create_group(store=str(path), zarr_format=2)
    axes = [{"name": name, "type": "space", "unit": "millimeter"} for name in "zyx"]
    scale = {"type": "scale", "scale": [3.0, 1.0, 1.0]}
    datasets = [{"path": array, "coordinateTransformations": [scale]}]
    group.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": datasets}]
    level = group.create_array("0", shape=shape, dtype="i2", chunks=(2, 8, 10),
                               compressors=GZip(), fill_value=0)  # fmt: skip
    level[...] = np.ones(shape, "i2")
    return path


def _metadata(path, **changes):
    file = path / "0" / ".zarray"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))
    return path


@hostile
def an_array_above(folder):
    return _image(folder, array="../../other")


@hostile
def an_array_at_an_absolute_path(folder):
    return _image(folder, array=str(canary(folder)))


@hostile
def a_chunk_that_is_a_link(folder):
    path = _image(folder)
    chunk = path / "0" / "1.0.0"
    chunk.unlink()
    chunk.symlink_to(canary(folder))
    return path


@hostile
def absurd_size(folder):
    return _metadata(_image(folder), shape=[1_000_000, 1_000_000, 1_000_000])


@hostile
def absurd_chunks(folder):
    return _metadata(_image(folder), chunks=[16000, 16000, 16000])


@hostile
def python_objects(folder):
    return _metadata(_image(folder), dtype="|O", filters=[{"id": "pickle"}], fill_value=0)


@hostile
def an_unknown_codec(folder):
    return _metadata(_image(folder), compressor={"id": "../evil"})


@hostile
def a_chunk_that_is_a_bomb(folder):
    path = _image(folder)
    (path / "0" / "1.0.0").write_bytes(GZip(1).encode(bytes(1 << 29)))
    return path


@hostile
def metadata_nested_for_ever(folder):
    path = _image(folder)
    (path / ".zattrs").write_text("[" * 200_000)
    return path


@hostile
def metadata_without_end(folder):
    path = _image(folder)
    (path / ".zattrs").write_text('{"x": "' + "x" * (1 << 25) + '"}')
    return path
