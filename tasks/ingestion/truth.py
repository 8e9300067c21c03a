"""The known truth of digital patients, stored on the grid of its source scan."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from synthct.data.errors import DataError
from synthct.data.orientation import flipped, nearest_axes, turned
from synthct.data.readers import read_displacement_image, read_scan
from synthct.data.store.volumes import read_grid, write_displacement, write_volume
from synthct.data.volume import Displacement, Grid, Modality
from synthct.tasks.ingestion.canonical import canonical, stored_type, straightened
from synthct.tasks.pipeline.artefacts import DISPLACEMENT


def store_truth(out: Path, name: str, paths: Mapping[str, Path]) -> None:
    """Store CT, labels and displacement of the source scan ``name`` under ``truth/NAME/``."""
    folder, source = out / "truth" / name, read_grid(out / f"{name}.zarr")
    for part, modality in (("ct", Modality.CT), ("labels", Modality.LABELS)):
        volume, _ = canonical(read_scan(paths[f"truth_{name}_{part}"], modality))
        _require_on(volume.grid, source, f"truth/{name}/{part}")
        write_volume(folder / f"{part}.zarr", stored_type(volume))
    field = canonical_displacement(read_displacement_image(paths[f"truth_{name}_displacement"]))
    _require_on(field.grid, source, f"truth/{name}/displacement")
    write_displacement(folder / DISPLACEMENT, field)


def canonical_displacement(field: Displacement) -> Displacement:
    """The field with its array axes along z, y, x; its vectors are in space and stay."""
    order, signs = nearest_axes(field.grid)
    vectors = np.ascontiguousarray(flipped(field.vectors, order, signs))
    return Displacement(vectors, straightened(turned(field.grid, order, signs)))


def _require_on(grid: Grid, source: Grid, where: str) -> None:
    if not grid.is_close(source, tolerance_mm=0.1):
        raise DataError(
            "the truth lies on the grid of its source scan",
            where=where,
            got=f"{grid.shape} at {grid.origin_mm} beside {source.shape} at {source.origin_mm}",
            remedy="make the digital patients again",
            code="truth-off-grid",
        )
