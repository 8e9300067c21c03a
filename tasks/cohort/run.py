"""The cohort stage: writes digital patients to ``data/raw/DATASET``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from synthct.data.errors import UsageError
from synthct.data.files import canonical_json, content_hash, write_whole
from synthct.data.phantom.tissues import label_table
from synthct.tasks.cohort.params import CohortParams, Region
from synthct.tasks.cohort.patient import write_patient
from synthct.tasks.pipeline.artefacts import DATASET, LABELS
from synthct.tasks.pipeline.stage import StageContext, Unit, build_out, run_units

STAGE = "cohort"
PREFIX: dict[Region, str] = {"head-neck": "HN", "thorax": "TH", "abdomen": "AB"}
MODALITY = {"ct": "CT", "mr": "MR", "cbct": "CBCT"}
LICENCE = {
    "name": "CC0-1.0",
    "url": "https://creativecommons.org/publicdomain/zero/1.0/",
    "cite": "Digital patients made by synthct's cohort stage; no person was scanned.",
    "non_commercial": False,
}


def run(context: StageContext, params: CohortParams) -> None:
    """Digital patients with known truth were drawn, moved and scanned by CT, MR and CBCT."""
    regions = {
        f"{PREFIX[region]}-{number:02d}": region
        for region in params.regions
        for number in range(1, params.patients_per_region + 1)
    }
    require_own(context.artefact(STAGE))
    with build_out(context, STAGE) as out:
        units = [_unit(context, params, name, region) for name, region in regions.items()]
        good = run_units(context, STAGE, out, units)
        facts = {
            "format": 1,
            "dataset": context.layout.dataset,
            "synthetic": True,
            "licence": LICENCE,
            "patients": {name: _entry(out, name, regions[name]) for name in good},
        }
        write_whole(out / DATASET, canonical_json(facts))
        write_whole(out / LABELS, canonical_json(label_table()))


def require_own(folder: Path) -> None:
    """Refuse to replace a data set that this stage has not written.

    Raises
    ------
    UsageError
        ``not-own-data``: the folder holds ingested scans, or files of unknown origin.
    """
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    try:
        if json.loads((folder / DATASET).read_text()).get("synthetic") is True:
            return
        found = "scans that were ingested"
    except (OSError, ValueError, AttributeError):
        found = f"files without a {DATASET} of digital patients"
    raise UsageError(
        f"the folder of the data set holds {found}",
        rule="digital patients (the section cohort) never replace other scans",
        where=str(folder),
        remedy="for these scans set `cohort: null`; for digital patients name another `dataset`",
        code="not-own-data",
    )


def _unit(context: StageContext, params: CohortParams, name: str, region: Region) -> Unit:
    arguments = {
        "patient": name,
        "region": region,
        "seed": context.seed,
        "dataset": context.layout.dataset,
        "protocol": protocol_of(params, region),
        **({"projections": True} if params.cbct_projections else {}),
    }
    return Unit(name, write_patient, arguments=arguments)


def protocol_of(params: CohortParams, region: Region) -> dict[str, Any]:
    """The fields of ``synthct.data.phantom.patient.Protocol`` as plain JSON."""
    voxels = params.voxels_mm[region].as_json()
    return {
        "voxels_mm": voxels,
        "anatomy_mm": params.anatomy_mm,
        "deformation_mm": list(params.deformation_mm),
        "setup_shift_mm": params.setup_shift_mm,
        "setup_turn_deg": params.setup_turn_deg,
        "ct_noise_hu": params.ct_noise_hu,
        "mr_noise": params.mr_noise,
        "mr_shading": params.mr_shading,
        "views": params.cbct_views,
        "scatter": params.cbct_scatter,
        "photons_per_mm2": params.cbct_photons_per_mm2,
        **({} if params.cbct_scanner is None else {"scanner": _plain(params.cbct_scanner)}),
    }


def _plain(ranges: Mapping[str, tuple[float, float]]) -> dict[str, list[float]]:
    return {name: list(ends) for name, ends in ranges.items()}


def _entry(out: Path, name: str, region: Region) -> dict[str, Any]:
    return {
        "region": region,
        "scans": {
            scan: {
                "path": f"{name}/{scan}",
                "format": "dicom",
                "modality": modality,
                "sha256": content_hash(out / name / scan),
            }
            for scan, modality in MODALITY.items()
        },
        "truth": {
            modality: {
                what: f"{name}/truth/{modality}_{what}.mha"
                for what in ("ct", "labels", "displacement")
            }
            for modality in ("mr", "cbct")
        },
        **_projections(out, name),
    }


def _projections(out: Path, name: str) -> dict[str, Any]:
    """The entry of the kept projections; none where they are not kept."""
    folder = out / name / "projections" / "cbct"
    if not folder.is_dir():
        return {}
    entry = {"path": f"{name}/projections/cbct", "sha256": content_hash(folder)}
    return {"projections": {"cbct": entry}}
