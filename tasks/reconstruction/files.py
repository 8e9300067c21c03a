"""From projection files to a folder with image, history and report."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from synthct.data.errors import UsageError
from synthct.data.files import canonical_json, content_hash, whole_folder, write_whole
from synthct.data.tables import write_table
from synthct.data.tomography.rtk_geometry import read_projections
from synthct.data.tomography.sinogram import Sinogram
from synthct.data.volume import Triple
from synthct.data.writers import write_image
from synthct.tasks.pipeline.artefacts import HISTORY, RECONSTRUCTED
from synthct.tasks.reconstruction.job import (
    Reconstruction,
    Settings,
    Tell,
    reconstruct_sinogram,
    usual_grid,
)
from synthct.tasks.reconstruction.page import report_page
from synthct.tasks.reconstruction.solve import COLUMNS, rows_of

RECORD, REPORT = "reconstruction.json", "report.html"
"""Files of the folder besides image and history; the first marks a folder that may be replaced."""


def reconstruct_files(
    projections: Path,
    geometry: Path,
    out: Path | None,
    settings: Settings,
    *,
    open_beam: float | None = None,
    view_step: int = 1,
    spacing_mm: Triple | None = None,
    shape: tuple[int, int, int] | None = None,
    progress: Tell | None = None,
) -> Reconstruction:
    """Reconstruct a scan and write ``out``, completely or not at all.

    Parameters
    ----------
    projections, geometry
        Image stack (u, v, view) and RTK's geometry file.
    out
        Output folder; None: nothing is written. While an iterative method runs, ``.NAME.resume``
        next to the folder holds checkpoints, from which the same command resumes after a kill.
    view_step
        Use every N-th view only.
    """
    if out is not None and out.exists() and not (out / RECORD).is_file():
        raise UsageError(
            "the output folder has other content",
            rule=f"only a folder with {RECORD} is replaced",
            where=str(out),
            remedy="give another --out, or remove the folder",
            code="out-exists",
        )
    sinogram = read_projections(projections, geometry, open_beam=open_beam)
    if view_step > 1:
        sinogram = sinogram.every(view_step)
    grid = usual_grid(sinogram, spacing_mm, shape)
    inputs = {
        "projections": content_hash(projections), "geometry": content_hash(geometry),
        "open_beam": open_beam, "view_step": view_step, "grid": [grid.shape, grid.spacing_mm],
        "settings": asdict(settings),
    }  # fmt: skip
    if out is None:
        return reconstruct_sinogram(sinogram, grid, settings, progress=progress)
    key = hashlib.sha256(canonical_json(inputs).encode()).hexdigest()[:16]
    resume = out.absolute().parent / f".{out.name}.resume"
    (resume / key).mkdir(parents=True, exist_ok=True)
    made = reconstruct_sinogram(sinogram, grid, settings, progress=progress, folder=resume / key)
    with whole_folder(out) as fresh:
        write_result(fresh, made, sinogram, settings, inputs)
    shutil.rmtree(resume, ignore_errors=True)
    return made


def write_result(
    folder: Path,
    made: Reconstruction,
    sinogram: Sinogram,
    settings: Settings,
    record: Mapping[str, Any],
) -> None:
    """Write image, history, record and report into ``folder``."""
    write_image(folder / RECONSTRUCTED, made.image)
    if made.solution is not None:
        write_table(folder / HISTORY, COLUMNS, rows_of(made.solution.history))
    write_whole(folder / RECORD, canonical_json(record))
    write_whole(folder / REPORT, report_page(made, _shown(settings), _facts(sinogram, made)))


def _shown(settings: Settings) -> dict[str, Any]:
    return {name.replace("_", " "): value for name, value in asdict(settings).items() if value}


def _facts(sinogram: Sinogram, made: Reconstruction) -> dict[str, str]:
    views, rows, columns = sinogram.geometry.sinogram_shape
    grid = made.image.grid
    return {
        "views": str(views),
        "detector": f"{rows} x {columns} pixels",
        "measured": "line integrals" if sinogram.open_beam is None else "counts",
        "image": f"{' x '.join(map(str, grid.shape))} voxels (z, y, x) of "
        f"{' x '.join(f'{size:.3g}' for size in grid.spacing_mm)} mm",
        "residual": f"{sum(made.residual) / len(made.residual):.4f} (RMS of line integrals)",
    }
