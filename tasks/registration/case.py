"""Registration of one (patient, source) pair, the unit of the registration stage."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from synthct.data.files import canonical_json, write_whole
from synthct.data.itk import resample
from synthct.data.store.volumes import (
    read_displacement,
    read_volume,
    write_displacement,
    write_volume,
)
from synthct.data.volume import Displacement, Grid, Modality
from synthct.tasks.fields.geometry import displacement_of, displacement_on, working_grid
from synthct.tasks.pipeline.artefacts import (
    CASE,
    CT,
    DISPLACEMENT,
    MASK,
    QUALITY,
    SOURCE,
    TRUTH_CT,
    TRUTH_LABELS,
    UNREGISTERED_CT,
)
from synthct.tasks.pipeline.events import emit
from synthct.tasks.registration.gate.measures import AIR_HU, as_ct
from synthct.tasks.registration.gate.params import GateParams
from synthct.tasks.registration.methods import METHODS
from synthct.tasks.registration.preset import Preset
from synthct.tasks.registration.register import Registered, register
from synthct.tasks.registration.results import (
    is_dense,
    mean_error_mm,
    rigid_part,
    write_transform,
)
from synthct.tasks.registration.scan_pair import ScanPair


def register_case(
    *,
    out: Path,
    fixed: Path,
    fixed_body: Path,
    moving: Path,
    moving_body: Path,
    case: str,
    patient: str,
    source: str,
    region: str,
    synthetic: bool,
    method: str,
    preset: Mapping[str, Any],
    gate: Mapping[str, Any],
    grid_spacing_mm: tuple[float, float, float],
    margin_mm: float,
    seed: int,
    threads: int,
    as_delivered: bool = False,
    method_options: Mapping[str, Any] | None = None,
    network: Path | None = None,
    truth_ct: Path | None = None,
    truth_labels: Path | None = None,
    truth_displacement: Path | None = None,
) -> None:
    """Register the CT to the source and write the folder of the case.

    ``preset`` is :class:`Preset` as JSON, ``gate`` :class:`GateParams` as JSON; ``network`` is
    the feature network of a method that uses one; the ground truth of a digital patient is on
    the grid of the source.
    """
    options = dict(method_options or {}) | ({} if network is None else {"network": str(network)})
    chosen = METHODS.build(method, options)
    pair = ScanPair(
        fixed=read_volume(fixed),
        moving=read_volume(moving),
        fixed_body=read_volume(fixed_body),
        moving_body=read_volume(moving_body),
    )
    a, b, c = grid_spacing_mm
    grid = working_grid(pair.fixed_body, (a, b, c), margin_mm)
    done = register(
        pair,
        grid,
        Preset.from_json(preset),
        GateParams.from_json(gate),
        chosen,
        seed=seed,
        threads=threads,
        tell=lambda step: emit("step", stage="registration", unit=case, step=step),
        as_delivered=as_delivered,
    )
    quality = {**done.quality, "method": method, "method_facts": chosen.facts()}
    if truth_displacement is not None:
        truth = displacement_on(read_displacement(truth_displacement), grid)
        write_displacement(out / "truth_displacement.zarr", truth)
        quality["truth"] = true_errors(done, truth)
    _write_truth(out, grid, truth_ct, truth_labels)
    quality["transform"] = _write_result(out, done)
    identity = {
        "case": case,
        "patient": patient,
        "source": source,
        "region": region,
        "synthetic": synthetic,
        "method": method,
        "verdict": done.judgement.verdict,
    }
    write_whole(out / CASE, canonical_json(identity))
    write_whole(out / QUALITY, canonical_json(quality))


def true_errors(done: Registered, truth: Displacement) -> dict[str, float]:
    """Mean errors inside the body against the known displacement [mm].

    ``unregistered``: without registration; ``best_rigid``: residual after the best rigid fit to
    the true displacement; ``rigid``: after the rigid step; ``registered``: of the final result.
    """
    inside = np.asarray(done.body.array) > 0
    still = Displacement(np.zeros_like(truth.vectors), truth.grid)
    errors = {
        "unregistered_mm": mean_error_mm(still, truth, inside),
        "best_rigid_mm": mean_error_mm(rigid_part(truth, inside), truth, inside),
        "registered_mm": mean_error_mm(done.moved.displacement, truth, inside),
    }
    if done.rigid is not None:
        rigid = displacement_of(done.rigid, done.grid)
        errors["rigid_mm"] = mean_error_mm(rigid, truth, inside)
    return errors


def _write_truth(out: Path, grid: Grid, ct: Path | None, labels: Path | None) -> None:
    if ct is not None:
        known = resample(read_volume(ct), grid, outside=AIR_HU)
        write_volume(out / TRUTH_CT, as_ct(known))
    if labels is not None:
        write_volume(
            out / TRUTH_LABELS, resample(read_volume(labels), grid, outside=0, nearest=True)
        )


def _write_result(out: Path, done: Registered) -> str:
    """Write volumes, displacement field and transform; returns the name of the transform's file.

    A dense transform is the displacement field itself, which is stored compressed: a second copy
    for ITK would take 24 bytes a voxel, and no stage reads it.
    """
    seen = (np.asarray(done.body.array) > 0) & (np.asarray(done.moved.field.array) > 0)
    write_volume(out / SOURCE, done.source)
    write_volume(out / MASK, done.body.with_array(seen.astype(np.uint8), Modality.MASK))
    write_volume(out / CT, as_ct(done.moved.scan))
    write_volume(out / UNREGISTERED_CT, as_ct(done.unregistered))
    write_displacement(out / DISPLACEMENT, done.moved.displacement)
    return DISPLACEMENT if is_dense(done.transform) else write_transform(out, done.transform)
