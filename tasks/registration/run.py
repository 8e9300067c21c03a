"""The registration stage, with one unit per case."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from synthct.data.errors import UsageError
from synthct.data.tables import write_table
from synthct.tasks.pipeline.artefacts import CASE, CT, DISPLACEMENT, PATIENT, QUALITY, QUALITY_TABLE
from synthct.tasks.pipeline.events import emit
from synthct.tasks.pipeline.randomness import derive_seed
from synthct.tasks.pipeline.stage import StageContext, Unit, build_out, run_units
from synthct.tasks.registration.case import register_case
from synthct.tasks.registration.methods import METHODS
from synthct.tasks.registration.params import RegistrationParams
from synthct.tasks.registration.presets import preset_called
from synthct.tasks.registration.rigid.competing_poses import CompetingPoses

STAGE = "registration"
SOURCES = ("mr", "cbct")
"""Source modalities; a patient without one has no case of it."""

COLUMNS = (
    "case", "patient", "source", "region", "method", "preset", "verdict", "step", "reason",
    "information_before", "information_after", "edges_before", "edges_after", "dice_before",
    "dice_after", "covered_after", "air_after", "folding_percent", "sd_log_jacobian",
    "local_p95_mm", "mean_mm", "max_mm", "bone_strain", "bone_local_p95_mm",
    "bone_darkness_before", "bone_darkness_after", "competing_gain",
    "competing_distance_mm", "starts_returned", "starts_spread_mm", "round_trip_p95_mm",
    "sample_region_mm",
    "true_unregistered_mm", "true_best_rigid_mm", "true_rigid_mm", "true_registered_mm",
)  # fmt: skip


def run(context: StageContext, params: RegistrationParams) -> None:
    """Each CT was moved onto its MR or CBCT, rigidly and then deformably (elastix, or the torch engine with the similarity that each case names); a gate kept the last step that did not make the alignment worse."""  # noqa: E501
    ingestion = context.artefact("ingestion")
    _require_sensible_grid(params, ingestion)
    units = list(_units(context, params, ingestion))
    if note := tuned_elsewhere(params, [unit.arguments for unit in units]):
        emit("note", stage=STAGE, text=note)
    with build_out(context, STAGE) as out:
        good = run_units(context, STAGE, out, units)
        write_table(out / QUALITY_TABLE, COLUMNS, quality_rows(out, good))


FINEST = 20.0
"""Largest volume of a voxel of the finer scan of a pair over that of the working grid."""


def _require_sensible_grid(params: RegistrationParams, ingestion: Path) -> None:
    """Refuse a working grid that is much finer than the scans of every patient."""
    finest: list[float] = []
    for file in sorted(ingestion.glob(f"*/{PATIENT}")):
        scans = json.loads(file.read_text())["scans"].values()
        known = [scan["spacing_mm"] for scan in scans if scan.get("spacing_mm")]
        finest += [min(math.prod(spacing) for spacing in known)] if known else []
    ratio = min(finest, default=0.0) / math.prod(params.grid_spacing_mm)
    if ratio > FINEST:
        raise UsageError(
            f"each voxel of the scans holds {ratio:.0f} or more voxels of the working grid",
            rule=f"it holds at most {FINEST:g}: a finer grid takes longer and adds no detail",
            where="registration.grid_spacing_mm",
            remedy="give voxel sizes (z, y, x) in mm near those of the scans",
            code="grid-too-fine",
        )


def tuned_elsewhere(params: RegistrationParams, cases: Iterable[Mapping[str, Any]]) -> str:
    """A note if scans of real patients use presets tuned on digital ones; otherwise empty."""
    real = [case["case"] for case in cases if not case["synthetic"]]
    if params.variant != "demo" or params.as_delivered or not real:
        return ""
    return (
        f"{len(real)} cases of real scans ({real[0]}, ...) take registration presets tuned on "
        "digital patients of 4 mm; for clinical voxel sizes set registration.variant: published"
    )


def case_units(context: StageContext, params: RegistrationParams) -> list[Unit]:
    """Units of all cases for these params; evaluation's floor registers the same pairs again."""
    return list(_units(context, params, context.artefact("ingestion")))


def _units(context: StageContext, params: RegistrationParams, ingestion: Path) -> Iterator[Unit]:
    for file in sorted(ingestion.glob(f"*/{PATIENT}")):
        facts = json.loads(file.read_text())
        for source in SOURCES:
            if {source, "ct"} <= set(facts["scans"]):
                yield _unit(context, params, file.parent, facts, source)


def _unit(
    context: StageContext,
    params: RegistrationParams,
    folder: Path,
    facts: dict[str, Any],
    source: str,
) -> Unit:
    patient, region = facts["patient"], facts["region"]
    case = f"{patient}_{source}"
    truth = folder / "truth" / source
    name, options = params.method_of(source, region)
    method = METHODS.build(name, options, where="params.yaml: registration.method_options")
    network = options.pop("network", None)
    inputs = {
        "fixed": folder / f"{source}.zarr",
        "fixed_body": folder / f"{source}_body.zarr",
        "moving": folder / CT,
        "moving_body": folder / "ct_body.zarr",
        "truth_ct": truth / CT,
        "truth_labels": truth / "labels.zarr",
        "truth_displacement": truth / DISPLACEMENT,
    }
    if network is not None:
        inputs["network"] = Path(network)
    return Unit(
        name=case,
        function=register_case,
        inputs={name: path for name, path in inputs.items() if path.exists()},
        arguments={
            "case": case,
            "patient": patient,
            "source": source,
            "region": region,
            "synthetic": bool(facts["synthetic"]),
            "method": name,
            "method_options": options,
            "preset": asdict(preset_called(params.preset_name(source, region))),
            "gate": params.gate.as_json(),
            "grid_spacing_mm": list(params.grid_spacing_mm),
            "margin_mm": params.margin_mm,
            "seed": derive_seed(context.seed, STAGE, case),
            "threads": context.threads_per_unit,
            **({"as_delivered": True} if params.as_delivered else {}),
        },
        plugins=(METHODS.module_of(name), *method.plugins()),
    )


def quality_rows(out: Path, cases: Iterable[str]) -> Iterator[dict[str, Any]]:
    """A row of ``quality.csv`` for each case."""
    for case in cases:
        quality = json.loads((out / case / QUALITY).read_text())
        before, after = quality["steps"]["identity"], quality["steps"][quality["step"]]
        yield {
            **json.loads((out / case / CASE).read_text()),
            **{name: quality[name] for name in ("preset", "step", "reason", "sample_region_mm")},
            **{f"{name}_before": before[name] for name in ("information", "edges", "dice")},
            **{f"{name}_after": after[name] for name in ("information", "edges", "dice")},
            "covered_after": after["covered"],
            "air_after": after["air"],
            "local_p95_mm": after["local_p95_mm"],
            **after["deformation"],
            "bone_strain": after["bone"]["strain"],
            "bone_local_p95_mm": after["bone"]["local_p95_mm"],
            "bone_darkness_before": before["bone_darkness"],
            "bone_darkness_after": after["bone_darkness"],
            **_competing(quality["competing_poses"]),
            "round_trip_p95_mm": (quality["round_trip"] or {}).get("p95_mm"),
            **{f"true_{name}": value for name, value in quality.get("truth", {}).items()},
        }


def _competing(found: dict[str, float] | None) -> dict[str, float]:
    """Columns for the competing poses; empty where no other starts were tried."""
    if found is None:
        return {}
    competing = CompetingPoses(**found)
    return {
        "competing_gain": competing.gain,
        "competing_distance_mm": competing.distance_mm,
        "starts_returned": competing.returned,
        "starts_spread_mm": competing.spread_mm,
    }
