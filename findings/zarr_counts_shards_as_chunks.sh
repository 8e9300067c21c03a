#!/usr/bin/env bash
# zarr counts every chunk of a shard as initialised as soon as the shard exists.
#
# Version: zarr 3.1.6.
# Expected: `nchunks_initialized` counts the chunks that were written, so that it tells a
#   half-written sharded array from a complete one.
# Behaviour: one chunk of eight is written; `nchunks_initialized` says 8 of 8. The seven others read
#   as the fill value.
# For us: a half-written OME-Zarr CT would read as 0 HU (water). The reader asks the index of each
#   shard instead (tests/data/test_ome_zarr.py).
# Source: https://zarr-specs.readthedocs.io/en/latest/v3/codecs/sharding-indexed/index.html
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check zarr==3.1.6
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import sys

import numpy as np
import zarr

array = zarr.create_array(
    f"{sys.argv[1]}/ct.zarr", shape=(8, 8, 8), chunks=(4, 4, 4), shards=(8, 8, 8), dtype="int16",
    fill_value=0,
)
array[:4, :4, :4] = np.full((4, 4, 4), -1000, "int16")
print("chunks:", array.nchunks, "initialised, as zarr counts:", array.nchunks_initialized)
print("a voxel that nobody wrote:", array[7, 7, 7])
assert array.nchunks == 8
assert array.nchunks_initialized == 8, "zarr looks into shards now"
assert array[7, 7, 7] == 0
PYTHON
