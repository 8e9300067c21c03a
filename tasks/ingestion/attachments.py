"""Data stored along with a patient's scans: structures, planned dose, truth of digital patients."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from synthct.data.errors import DataError
from synthct.data.orientation import flipped, nearest_axes, turned
from synthct.data.readers import read_displacement_image, read_scan
from synthct.data.store.volumes import read_grid, write_displacement, write_volume
from synthct.data.volume import Displacement, Grid, Modality, Volume
from synthct.tasks.ingestion.canonical import canonical, stored_type, straightened
from synthct.tasks.pipeline.artefacts import DISPLACEMENT

SAME_MM = 0.1

STRUCTURES, DOSE = "structures", "dose"


def upright_mask(path: Path) -> Volume:
    """A mask file, turned onto the axes-aligned grid on which its scan is stored."""
    return stored_type(canonical(read_scan(path, Modality.MASK))[0])


def store_structures(out: Path, scan: str, folder: Path) -> dict[str, dict[str, Any]]:
    """Store ``structures/SCAN/NAME.zarr`` (uint8, 0 and 1); return the volume [cm^3] of each.

    Raises
    ------
    DataError
        ``structures-off-grid``: a mask is not on the grid of its scan.
    """
    grid = read_grid(out / f"{scan}.zarr")
    facts: dict[str, dict[str, Any]] = {}
    for file in sorted(folder.glob("*.mha")):
        name, mask = file.stem, upright_mask(file)
        if not mask.grid.is_close(grid, SAME_MM):
            raise DataError(
                f"the structure is not on the grid of its scan: its shape is "
                f"{mask.grid.shape}, that of the scan {grid.shape}",
                where=f"{STRUCTURES}/{scan}/{name}",
                remedy="ingest the scan and its structures again",
                code="structures-off-grid",
            )
        write_volume(
            out / STRUCTURES / scan / f"{name}.zarr", Volume(mask.array, grid, Modality.MASK)
        )
        cm3 = float(np.count_nonzero(mask.array)) * grid.voxel_mm3 / 1000
        facts[name] = {"cm3": round(cm3, 2)}
    return facts


def store_dose(out: Path, path: Path) -> dict[str, Any]:
    """Store ``dose.zarr`` (float32 [Gy], axes-aligned, on its own grid); return its facts."""
    dose, resampled = canonical(read_scan(path, Modality.DOSE))
    dose = stored_type(dose)
    write_volume(out / f"{DOSE}.zarr", dose)
    return {
        "shape": list(dose.grid.shape),
        "spacing_mm": list(dose.grid.spacing_mm),
        "max_gy": float(dose.array.max()),
        "resampled": resampled,
    }


def store_attached(
    out: Path, scans: Mapping[str, Any], paths: Mapping[str, Path], left_out: dict[str, Any]
) -> dict[str, Any]:
    """Store structures and dose of the accepted scans; unusable ones are added to ``left_out``."""
    facts: dict[str, Any] = {}
    for name in sorted(scans):
        folder = paths.get(f"{STRUCTURES}_{name}")
        if folder is None:
            continue
        try:
            facts.setdefault(STRUCTURES, {})[name] = store_structures(out, name, folder)
        except DataError as error:
            label = f"{STRUCTURES}-{name}"
            left_out[label] = without_path(error, folder, label)
    if DOSE in paths:
        try:
            facts[DOSE] = store_dose(out, paths[DOSE])
        except DataError as error:
            left_out[DOSE] = without_path(error, paths[DOSE], DOSE)
    return facts


def without_path(error: DataError, path: Path, name: str) -> dict[str, str]:
    """The error as JSON, with a name in place of the path on this machine."""
    return {
        key: text.replace(str(path.absolute()), name).replace(str(path), name)
        for key, text in error.as_json().items()
    }


def store_truth(out: Path, name: str, paths: Mapping[str, Path]) -> None:
    """Store the known truth of a digital patient under ``truth/NAME/``.

    CT, labels and displacement are on the grid of the source scan ``name``.

    Raises
    ------
    DataError
        ``truth-off-grid``.
    """
    folder, source = out / "truth" / name, read_grid(out / f"{name}.zarr")
    for part, modality in (("ct", Modality.CT), ("labels", Modality.LABELS)):
        volume, _ = canonical(read_scan(paths[f"truth_{name}_{part}"], modality))
        _require_on(volume.grid, source, f"truth/{name}/{part}")
        write_volume(folder / f"{part}.zarr", stored_type(volume))
    field = canonical_displacement(read_displacement_image(paths[f"truth_{name}_displacement"]))
    _require_on(field.grid, source, f"truth/{name}/displacement")
    write_displacement(folder / DISPLACEMENT, field)


def canonical_displacement(field: Displacement) -> Displacement:
    """The field with its array axes along z, y, x; its vectors are in world space: unchanged."""
    order, signs = nearest_axes(field.grid)
    vectors = np.ascontiguousarray(flipped(field.vectors, order, signs))
    return Displacement(vectors, straightened(turned(field.grid, order, signs)))


def _require_on(grid: Grid, source: Grid, where: str) -> None:
    if not grid.is_close(source, tolerance_mm=0.1):
        raise DataError(
            f"the truth is not on the grid of its source scan: {grid.shape} at "
            f"{grid.origin_mm} mm, the scan {source.shape} at {source.origin_mm} mm",
            where=where,
            remedy="run the cohort stage again",
            code="truth-off-grid",
        )
