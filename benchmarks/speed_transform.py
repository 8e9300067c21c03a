"""Speed: disk space of a registered case with a dense transform."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from scipy.ndimage import gaussian_filter

from benchmarks._speed import processor, result
from synthct.data.itk import displacement_to_itk
from synthct.data.store.volumes import read_displacement, write_displacement
from synthct.data.volume import Displacement, Grid
from synthct.tasks.registration.results import write_transform

SHAPE = (48, 128, 128)


def measure() -> str:
    """Bytes per voxel of the two files that contained the same mapping, and their difference."""
    rng = np.random.default_rng(0)
    grid = Grid(SHAPE, (3.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    field = np.stack([gaussian_filter(rng.normal(size=SHAPE), 10.0) * 500 for _ in range(3)])
    found = Displacement(field.astype(np.float32), grid)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        transform = sitk.DisplacementFieldTransform(displacement_to_itk(found))
        name = write_transform(folder, transform)
        write_displacement(folder / "displacement.zarr", found)
        dense = (folder / name).stat().st_size
        stored = sum(
            file.stat().st_size
            for file in (folder / "displacement.zarr").rglob("*")
            if file.is_file()
        )
        again = read_displacement(folder / "displacement.zarr")
    voxels = int(np.prod(SHAPE))
    gap_mm = float(np.abs(again.vectors - found.vectors).max())
    return "\n".join(
        [
            processor(),
            "",
            f"A smooth displacement of {' x '.join(map(str, SHAPE))} voxels, components up to "
            f"{np.abs(field).max():.0f} mm.",
            "",
            "| file of a case | before [bytes per voxel] | now [bytes per voxel] |",
            "|---|---|---|",
            f"| `{name}`, float64, uncompressed | {dense / voxels:.1f} | 0 |",
            f"| `displacement.zarr`, float32, compressed | {stored / voxels:.1f} "
            f"| {stored / voxels:.1f} |",
            "",
            f"Largest difference between the stored and the computed displacement: {gap_mm:g} mm.",
            "",
            result(stored / (stored + dense), "bytes of the transform of a case", "before"),
            "",
            "A rigid transform or a spline is still stored in `transform.tfm`, which has a few "
            "kilobytes. `synthct register` still writes `transform.h5`, so that ITK programs can "
            "read the result.",
        ]
    )
