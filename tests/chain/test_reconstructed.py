"""The chain with a reconstruction section, under plain DVC."""

from __future__ import annotations

import json

import pytest

from synthct.data.store.volumes import read_volume

SECTION = "reconstruction: {method: fista, iterations: 3}\ningestion: {}"


@pytest.mark.slow
def test_dvc_does_not_know_that_ingestion_reads_what_was_reconstructed(make_clone):
    made = make_clone("projections")
    made.run("python", "-m", "synthct.tasks", "dag")
    made.run("dvc", "repro", "ingestion")
    before = read_volume(made.root / "data/artefacts/ingestion/TH-01/cbct.zarr")
    made.set_params("  cbct_views: 12", "  cbct_views: 12\n  cbct_projections: true")
    made.set_params("ingestion: {}", SECTION)
    made.run("python", "-m", "synthct.tasks", "dag")
    made.run("dvc", "repro", "ingestion")
    after = read_volume(made.root / "data/artefacts/ingestion/TH-01/cbct.zarr")
    assert after.grid.is_close(before.grid)
    assert (after.array != before.array).mean() > 0.2
    made.set_params("iterations: 3", "iterations: 6")
    status = json.loads(made.run("dvc", "status", "--json").stdout)
    assert {"reconstruction"} <= set(status)
    made.run("dvc", "repro", "ingestion")
    again = read_volume(made.root / "data/artefacts/ingestion/TH-01/cbct.zarr")
    assert (again.array != after.array).mean() > 0.2
