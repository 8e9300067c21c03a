"""Speed: disk of a registered case with a dense transform."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from scipy.ndimage import gaussian_filter

from benchmarks._speed import processor, verdict
from synthct.data.itk import displacement_to_itk
from synthct.data.store.volumes import read_displacement, write_displacement
from synthct.data.volume import Displacement, Grid
from synthct.tasks.registration.results import write_transform

SHAPE = (48, 128, 128)
TARGET = 0.3


def measure() -> str:
    """Bytes a voxel of the two files that held the same mapping, and their difference."""
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
            "| file of a case | before [bytes a voxel] | now [bytes a voxel] |",
            "|---|---|---|",
            f"| `{name}`, float64, uncompressed | {dense / voxels:.1f} | 0 |",
            f"| `displacement.zarr`, float32, compressed | {stored / voxels:.1f} "
            f"| {stored / voxels:.1f} |",
            "",
            f"Largest difference of the stored from the found displacement: {gap_mm:g} mm.",
            "",
            verdict(8, "transform of a case, of before", stored / (stored + dense), TARGET),
            "",
            "A transform that is rigid or a spline still has its `transform.tfm`, of kilobytes. "
            "`synthct register` writes `transform.h5` for ITK beside the displacement, because the "
            "user asked for a file for ITK.",
        ]
    )
