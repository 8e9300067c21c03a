#!/usr/bin/env bash
# ngff-zarr leaves out the scale that an OME-Zarr image has for all its resolutions.
#
# Versions: ngff-zarr 0.50.0, bioio-ome-zarr 3.8.1, zarr 3.1.6.
# Expected: `coordinateTransformations` of the image follow those of each of its resolutions, as
#   OME-Zarr 0.4 and 0.5 define. An array that starts at voxel 10 of a scan, whose voxels are
#   3 x 2 x 2 mm, has these voxels and starts at 30 mm.
# Behaviour: `from_ngff_zarr` reads both and places the image by the first alone: voxels of 1 mm,
#   starting at 10 mm, without a warning; so does the ITK image made of it. bioio reports 3 x 2 x 2
#   mm for the same file.
# For us: a patient would have a third of the height. The reader of synthct applies both
#   (tests/data/test_ome_zarr.py).
# Source: https://ngff.openmicroscopy.org/0.4/index.html#multiscale-md
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    ngff-zarr==0.50.0 bioio-ome-zarr==3.8.1 zarr==3.1.6
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import sys

import numpy as np
import zarr
from bioio_ome_zarr import Reader
from ngff_zarr import from_ngff_zarr, ngff_image_to_itk_image

for version, zarr_format in (("0.4", 2), ("0.5", 3)):
    path = f"{sys.argv[1]}/ct-{version}.ome.zarr"
    group = zarr.create_group(path, zarr_format=zarr_format)
    separated = {"name": "v2" if zarr_format == 2 else "default", "separator": "/"}
    array = group.create_array(
        "0", shape=(8, 8, 8), chunks=(8, 8, 8), dtype="int16", chunk_key_encoding=separated,
        dimension_names=None if zarr_format == 2 else ["z", "y", "x"],
    )
    array[...] = np.zeros((8, 8, 8), "int16")
    image = {
        "name": "ct",
        "axes": [{"name": name, "type": "space", "unit": "millimeter"} for name in "zyx"],
        "datasets": [{"path": "0", "coordinateTransformations": [
            {"type": "scale", "scale": [1.0, 1.0, 1.0]},
            {"type": "translation", "translation": [10.0, 0.0, 0.0]},
        ]}],
        "coordinateTransformations": [{"type": "scale", "scale": [3.0, 2.0, 2.0]}],
    }  # fmt: skip
    if version == "0.4":
        group.attrs["multiscales"] = [{"version": version, **image}]
    else:
        group.attrs["ome"] = {"version": version, "multiscales": [image]}
    theirs = from_ngff_zarr(path).images[0]
    itk = ngff_image_to_itk_image(theirs)
    other = Reader(path).physical_pixel_sizes
    print(f"OME-Zarr {version}, z y x [mm]")
    print(f"  ngff-zarr: voxels {list(theirs.scale.values())}, "
          f"start {list(theirs.translation.values())}")  # fmt: skip
    print(f"  its ITK image: voxels {list(itk.spacing)[::-1]}, start {list(itk.origin)[::-1]}")
    print(f"  bioio: voxels {list(other)}")
    assert tuple(other) == (3.0, 2.0, 2.0)
    assert theirs.scale == {"z": 1.0, "y": 1.0, "x": 1.0}, "the image's scale is applied now"
    assert theirs.translation["z"] == 10.0, "the image's scale is applied now"
    assert list(itk.spacing) == [1.0, 1.0, 1.0], "the image's scale is applied now"
PYTHON
