"""The reconstruction stage: cone-beam CTs from their projections, a unit per patient."""

from __future__ import annotations

import importlib.util
import json
from importlib import metadata
from pathlib import Path
from typing import Any

from synthct.data.errors import DataError, MachineError, UsageError
from synthct.data.files import content_hash
from synthct.data.readers import read_scan
from synthct.data.tomography.rtk_geometry import read_projections
from synthct.data.volume import Modality
from synthct.tasks.ingestion.dataset import RawPatient, load_dataset
from synthct.tasks.pipeline.artefacts import BEAM, DATASET, GEOMETRY, PROJECTIONS
from synthct.tasks.pipeline.stage import StageContext, Unit, build_out, run_units
from synthct.tasks.reconstruction.files import write_result
from synthct.tasks.reconstruction.job import (
    FDK,
    WATER_PER_MM,
    Settings,
    prior_of,
    reconstruct_sinogram,
    usual_grid,
)
from synthct.tasks.reconstruction.methods import RECONSTRUCTION_METHODS
from synthct.tasks.reconstruction.params import ReconstructionParams
from synthct.tasks.regularization import REGULARIZERS

STAGE = "reconstruction"
SCAN = "cbct"
"""Name of the scan that has projections."""


def run(context: StageContext, params: ReconstructionParams) -> None:
    """Cone-beam CTs were reconstructed from their projections by a model of the measurement and, with iterative methods, a prior."""  # noqa: E501
    raw = context.layout.raw
    check_plugins(params, where="params.yaml: reconstruction")
    patients = {
        name: patient
        for name, patient in sorted(load_dataset(raw).patients.items())
        if SCAN in patient.projections
    }
    if not patients:
        raise UsageError(
            "no patient of the data set has projections",
            rule="the section reconstruction makes CBCTs from projections",
            where=str(raw / DATASET),
            remedy="for digital patients set cohort.cbct_projections, else `reconstruction: null`",
            code="no-projections",
        )
    with build_out(context, STAGE) as out:
        units = [_unit(raw, name, patient, params) for name, patient in patients.items()]
        run_units(context, STAGE, out, units)


def check_plugins(params: ReconstructionParams, *, where: str) -> None:
    """Build method and prior once.

    Raises
    ------
    UsageError
        A name or a parameter is wrong.
    """
    if params.method != FDK:
        RECONSTRUCTION_METHODS.build(
            params.method, params.method_options, where=f"{where}.method_options"
        )
    prior_of(_settings(params, WATER_PER_MM), where=f"{where}.prior")


def _settings(params: ReconstructionParams, water_per_mm: float) -> Settings:
    return Settings(**params.as_json(exclude={"view_step"}), water_per_mm=water_per_mm)


def _unit(raw: Path, name: str, patient: RawPatient, params: ReconstructionParams) -> Unit:
    entry = patient.projections[SCAN]
    inputs = {"projections": raw / entry.path}
    if SCAN in patient.scans:
        inputs["delivered"] = raw / patient.scans[SCAN].path
    plugins = [] if params.method == FDK else [RECONSTRUCTION_METHODS.module_of(params.method)]
    if params.prior:
        plugins.append(REGULARIZERS.module_of(params.prior))
    return Unit(
        name=name,
        function=reconstruct_patient,
        inputs=inputs,
        arguments={
            "patient": name,
            "sha256": entry.sha256,
            "params": params.as_json(),
            "projector": projector_here(),
        },
        plugins=tuple(plugins),
    )


def projector_here() -> str:
    """Projector of this machine: numba with its version, or torch; their last bits differ."""
    if importlib.util.find_spec("numba") is None:
        return "torch"
    return f"numba {metadata.version('numba')}"


def reconstruct_patient(
    *,
    out: Path,
    scratch: Path,
    patient: str,
    sha256: str,
    params: dict[str, Any],
    projector: str,
    projections: Path,
    delivered: Path | None = None,
) -> None:
    """Unit: reconstruct one patient's CBCT on the grid of the delivered one.

    Parameters
    ----------
    scratch
        For checkpoints.
    sha256
        Content hash that the projections had when they were ingested.
    params
        ``ReconstructionParams`` as JSON.
    projector
        Value of :func:`projector_here` where the run was started; part of the key.
    projections
        Folder with projections, geometry and ``beam.json``.
    delivered
        The scanner's own CBCT, if there is one.

    Raises
    ------
    DataError
        ``raw-changed``, or the files are damaged.
    MachineError
        ``other-packages``: this worker projects with another numba.
    """
    section = ReconstructionParams.from_json(params)
    if projector not in ("torch", projector_here()):
        raise MachineError(
            f"this worker projects with {projector_here()}, the run was started with {projector}",
            rule="a worker has the package versions that are part of the keys of its results",
            remedy="install the same file of locks/ on all machines",
            code="other-packages",
        )
    if content_hash(projections) != sha256:
        raise DataError(
            "the projections have another SHA-256",
            rule=f"projections have the SHA-256 that {DATASET} recorded",
            where=f"{patient}/{SCAN}",
            remedy="run `dvc pull`, or ingest them again",
            code="raw-changed",
        )
    beam = json.loads((projections / BEAM).read_text())
    sinogram = read_projections(
        projections / PROJECTIONS, projections / GEOMETRY, open_beam=beam["open_beam"]
    )
    if section.view_step > 1:
        sinogram = sinogram.every(section.view_step)
    if delivered is None:
        grid = usual_grid(sinogram, None)
    else:
        grid = read_scan(delivered, Modality.CBCT).grid
    settings = _settings(section, beam["water_per_mm"])
    made = reconstruct_sinogram(
        sinogram, grid, settings, folder=scratch,
        backend="torch" if projector == "torch" else "auto",
    )  # fmt: skip
    write_result(out, made, sinogram, settings, {"patient": patient, "params": section.as_json()})
