#!/usr/bin/env bash
# SimpleITK ignores units of length and intensity scaling in headers of NRRD and MetaImage files.
#
# Versions: SimpleITK 2.5.5, NumPy 2.4.3.
# Expected: an NRRD file whose header says `space units: "um" "um" "um"`, or a MetaImage file whose
#   header says `DistanceUnits = um` or `ElementToIntensityFunctionSlope = 2`, is converted while it
#   is read, or refused.
# Behaviour: spacing 2000 um is read as 2000 mm, and the slope and offset are ignored, without a
#   warning.
# For us: readers of synthct apply these fields or refuse the file
#   (tests/data/test_wild_images.py).
# Sources: https://teem.sourceforge.net/nrrd/format.html (space units),
#   https://itk.org/Wiki/ITK/MetaIO/Documentation (DistanceUnits, ElementToIntensityFunctionSlope).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check SimpleITK==2.5.5 numpy==2.4.3
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import sys
from pathlib import Path

import numpy as np
import SimpleITK as sitk

folder = Path(sys.argv[1])
voxels = np.arange(24, dtype="<i2").reshape(2, 3, 4)
nrrd = (
    "NRRD0004\ntype: short\ndimension: 3\nspace: left-posterior-superior\nsizes: 4 3 2\n"
    "space directions: (2000,0,0) (0,2000,0) (0,0,2000)\nkinds: domain domain domain\n"
    'space units: "um" "um" "um"\nendian: little\nencoding: raw\nspace origin: (0,0,0)\n\n'
)
(folder / "um.nrrd").write_bytes(nrrd.encode() + voxels.tobytes())
meta = (
    "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\n"
    "DistanceUnits = um\nElementToIntensityFunctionSlope = 2\n"
    "ElementToIntensityFunctionOffset = -1000\nElementSpacing = 2000 2000 2000\nDimSize = 4 3 2\n"
    "ElementType = MET_SHORT\nElementDataFile = LOCAL\n"
)
(folder / "um.mha").write_bytes(meta.encode() + voxels.tobytes())
for name in ("um.nrrd", "um.mha"):
    image = sitk.ReadImage(str(folder / name))
    print(name, "spacing [mm]:", image.GetSpacing(), "last value:", image[3, 2, 1])
    assert image.GetSpacing() == (2000.0, 2000.0, 2000.0), "units are honoured now"
    assert image[3, 2, 1] == 23, "slope and offset are honoured now"
PYTHON
