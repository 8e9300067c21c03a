"""The stage of the chain: projections kept by the cohort become the CBCT that ingestion stores."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from synthct.data.errors import UsageError
from synthct.data.files import content_hash
from synthct.data.layout import Layout
from synthct.data.phantom.cbct import kept_projections
from synthct.data.phantom.imager import Imager
from synthct.data.readers import read_scan
from synthct.data.store.result_cache import LocalResults
from synthct.data.store.volumes import read_volume
from synthct.data.tomography.cone_beam import covering
from synthct.data.volume import Modality
from synthct.tasks.chain.params import parse_params
from synthct.tasks.chain.table import render
from synthct.tasks.cohort.params import CohortParams, VoxelSizes
from synthct.tasks.cohort.run import run as run_cohort
from synthct.tasks.ingestion.params import IngestionParams
from synthct.tasks.ingestion.run import run as run_ingestion
from synthct.tasks.pipeline.fanout import here
from synthct.tasks.pipeline.stage import StageContext
from synthct.tasks.reconstruction.params import ReconstructionParams
from synthct.tasks.reconstruction.run import check_plugins, run

COARSE = VoxelSizes(ct=(8.0, 8.0, 8.0), mr=(10.0, 8.0, 8.0), cbct=(8.0, 8.0, 8.0))
COHORT = {
    "regions": ("head-neck",), "patients_per_region": 1, "voxels_mm": {"head-neck": COARSE},
    "anatomy_mm": 4.0, "cbct_views": 24, "cbct_scatter": 0.0, "cbct_photons_per_mm2": 2e3,
}  # fmt: skip
ROOT = Path(__file__).resolve().parents[3]


def _context(root, **sections):
    (root / "units").mkdir(exist_ok=True)
    return StageContext(
        Layout(root / "ws"), 7, LocalResults(root / "units"), here, sections=sections
    )


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    root = tmp_path_factory.mktemp("kept")
    context = _context(root)
    run_cohort(context, CohortParams(**COHORT, cbct_projections=True))
    return context


@pytest.fixture
def chain(cohort):
    def go(**params):
        section = ReconstructionParams(**params)
        context = replace(cohort, sections={"reconstruction": section})
        run(context, section)
        run_ingestion(context, IngestionParams())
        return context

    return go


def _hu(context, *parts):
    return read_volume(context.artefact("ingestion") / "HN-01" / Path(*parts))


def test_the_network_is_trained_on_the_delivered_scan_and_not_on_the_reconstruction(chain, cohort):
    raw = cohort.layout.raw / "HN-01"
    delivered = read_scan(raw / "cbct", Modality.CBCT)
    context = chain(iterations=15)
    stored, truth, body = (
        _hu(context, name) for name in ("cbct.zarr", "truth/cbct/ct.zarr", "cbct_body.zarr")
    )
    assert stored.grid.is_close(delivered.grid)
    inside = (body.array > 0) & (delivered.array > -1000)

    def error_hu(array):
        return float(np.abs(array.astype(float) - truth.array)[inside].mean())

    assert error_hu(stored.array) < 0.9 * error_hu(delivered.array)
    folder = context.artefact("reconstruction") / "HN-01"
    assert {"cbct.nii.gz", "history.csv", "report.html"} <= {p.name for p in folder.iterdir()}


def test_fdk_of_the_kept_projections_is_not_what_the_scanner_made_of_them(chain, cohort):
    delivered = read_scan(cohort.layout.raw / "HN-01" / "cbct", Modality.CBCT)
    stored = _hu(chain(method="fdk", prior="", window=2.0), "cbct.zarr")
    seen = (delivered.array > -1000) & (stored.array > -1000)
    difference = np.abs(stored.array.astype(float) - delivered.array)[seen]
    assert seen.mean() > 0.3
    assert np.quantile(difference, 0.99) <= 1.0


def test_keeping_projections_changes_the_scans(cohort, tmp_path):
    context = _context(tmp_path)
    run_cohort(context, CohortParams(**COHORT))
    there, without = (one.layout.raw / "HN-01" for one in (cohort, context))
    for part in ("ct", "mr", "cbct", "truth"):
        assert content_hash(there / part) == content_hash(without / part)
    assert not (without / "projections").exists()
    text = (context.layout.raw / "dataset.json").read_text()
    assert "projections" not in json.loads(text)["patients"]["HN-01"]


def test_an_offset_detector_is_written_with_columns_that_it_does_not_have():
    beam = covering(8, diameter_mm=400.0, height_mm=80.0, pixel_mm=8.0)
    imager = Imager(0.0, 1e4, half_fan_mm=40.0)
    kept = kept_projections(torch.zeros(beam.sinogram_shape), beam, imager)
    assert kept.geometry.detector_shape[1] < beam.detector_shape[1]
    last = float(beam.offsets_mm(1)[-1])
    assert float(kept.geometry.offsets_mm(1)[-1]) == pytest.approx(last)


def test_damaged_projections_are_reconstructed_or_replaced_by_the_delivered_scan(cohort, tmp_path):
    context = replace(
        cohort, sections={"reconstruction": ReconstructionParams()}, max_excluded_fraction=1.0
    )
    file = cohort.layout.raw / "HN-01" / "projections" / "cbct" / "projections.mha"
    good = file.read_bytes()
    file.write_bytes(good[:-8] + bytes(8))
    try:
        run(context, ReconstructionParams())
        rows = json.loads((context.artefact("reconstruction") / "excluded.json").read_text())
        assert rows[0]["code"] == "raw-changed"
        run_ingestion(context, IngestionParams())
    finally:
        file.write_bytes(good)
    patient = json.loads((context.artefact("ingestion") / "HN-01" / "patient.json").read_text())
    assert sorted(patient["scans"]) == ["ct", "mr"]


def test_a_data_set_without_projections_is_refused(tmp_path):
    context = _context(tmp_path)
    context.layout.raw.mkdir(parents=True)
    facts = {"format": 1, "dataset": "demo", "patients": {"A": {"region": "thorax"}}}
    (context.layout.raw / "dataset.json").write_text(json.dumps(facts))
    with pytest.raises(UsageError, match="no patient of the data set has projections"):
        run(context, ReconstructionParams())


@pytest.mark.parametrize(
    "wrong", [{"method": "fist"}, {"prior": "bending"}, {"method_options": {"step": 1.0}}]
)
def test_a_wrong_name_is_found_after_the_cohort_is_drawn(wrong):
    with pytest.raises(UsageError, match="reconstruction"):
        check_plugins(ReconstructionParams(**wrong), where="params.yaml: reconstruction")


@pytest.mark.parametrize("on", [False, True])
def test_the_stage_runs_where_it_is_not_asked_for_and_ingestion_ignores_it(on, monkeypatch):
    monkeypatch.chdir(ROOT)
    text = "dataset: demo\ncohort: {cbct_projections: true}\n"
    params = parse_params(text + ("reconstruction: {}\n" if on else ""), where="params.yaml")
    monkeypatch.setattr("synthct.tasks.chain.params.load_params", lambda path: params)
    stages = yaml.safe_load(render(Path()))["stages"]
    assert ("reconstruction" in stages) is on
    made = "data/artefacts/reconstruction"
    assert (made in stages["ingestion"]["deps"]) is on
    assert ("reconstruction" in stages["report"]["params"]) is on
    assert ("tasks/reconstruction/run.py" in stages["report"]["deps"]) is on
