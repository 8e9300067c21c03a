"""What lies beside a patient's scans, stored with them: masks of structures, the planned dose."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from synthct.data.errors import DataError
from synthct.data.readers import read_scan
from synthct.data.store.volumes import read_grid, write_volume
from synthct.data.volume import Modality, Volume
from synthct.tasks.ingestion.canonical import canonical, stored_type

SAME_MM = 0.1

STRUCTURES, DOSE = "structures", "dose"


def upright_mask(path: Path) -> Volume:
    """A mask file on the grid that its scan has in the store."""
    return stored_type(canonical(read_scan(path, Modality.MASK))[0])


def store_structures(out: Path, scan: str, folder: Path) -> dict[str, dict[str, Any]]:
    """Store ``structures/SCAN/NAME.zarr`` (uint8, 0 and 1) on the scan's grid; facts by name."""
    grid = read_grid(out / f"{scan}.zarr")
    facts: dict[str, dict[str, Any]] = {}
    for file in sorted(folder.glob("*.mha")):
        name, mask = file.stem, upright_mask(file)
        if not mask.grid.is_close(grid, SAME_MM):
            raise DataError(
                "structures lie on the grid of their scan",
                where=f"{STRUCTURES}/{scan}/{name}",
                got=f"{mask.grid.shape} beside {grid.shape}",
                remedy="take scan and structures in again",
                code="structures-off-grid",
            )
        write_volume(
            out / STRUCTURES / scan / f"{name}.zarr", Volume(mask.array, grid, Modality.MASK)
        )
        cm3 = float(np.count_nonzero(mask.array)) * grid.voxel_mm3 / 1000
        facts[name] = {"cm3": round(cm3, 2)}
    return facts


def store_dose(out: Path, path: Path) -> dict[str, Any]:
    """Store ``dose.zarr`` (float32 [Gy], upright, on its own grid); its facts."""
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
    """Everything beside the scans that stayed; what is unfit joins ``left_out``."""
    facts: dict[str, Any] = {}
    for name in sorted(scans):
        folder = paths.get(f"{STRUCTURES}_{name}")
        if folder is None:
            continue
        try:
            facts.setdefault(STRUCTURES, {})[name] = store_structures(out, name, folder)
        except DataError as fault:
            left_out[f"{STRUCTURES}-{name}"] = _told(fault, f"{STRUCTURES}-{name}", folder)
    if DOSE in paths:
        try:
            facts[DOSE] = store_dose(out, paths[DOSE])
        except DataError as fault:
            left_out[DOSE] = _told(fault, DOSE, paths[DOSE])
    return facts


def _told(fault: DataError, name: str, path: Path) -> dict[str, str]:
    """The fault with a name in place of the machine's path."""
    return {
        key: text.replace(str(path.absolute()), name).replace(str(path), name)
        for key, text in fault.as_json().items()
    }
