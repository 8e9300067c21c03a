import json
from dataclasses import replace

import numpy as np
import pytest

from synthct.data.errors import UsageError
from synthct.data.files import canonical_json, write_whole
from synthct.data.layout import Layout
from synthct.data.store.result_cache import open_result_cache
from synthct.data.store.volumes import write_volume
from synthct.data.tables import read_table
from synthct.tasks.chain.params import parse_params
from synthct.tasks.pipeline.fanout import here
from synthct.tasks.pipeline.stage import StageContext
from synthct.tasks.registration import presets
from synthct.tasks.registration.params import RegistrationParams
from synthct.tasks.registration.run import COLUMNS, run, tuned_elsewhere


@pytest.fixture
def context(tmp_path, monkeypatch, quick):
    monkeypatch.chdir(tmp_path)
    short = replace(
        quick,
        name="quick",
        bspline=replace(quick.bspline, iterations=(10, 10, 10)),
        rigid=replace(quick.rigid, iterations=(30, 20, 10)),
    )
    monkeypatch.setitem(presets.PRESETS, "quick", short)
    return StageContext(Layout(), seed=1, units=open_result_cache(), fan_out=here)


@pytest.fixture
def params():
    names = {f"{source}_other": "quick" for source in ("mr", "cbct")}
    return RegistrationParams(presets=names, grid_spacing_mm=(5.0, 4.0, 4.0))


def run_intake(make, context, patient, sources=("mr",), seed=0):
    folder = context.artefact("ingestion") / patient
    for source in sources:
        make(seed, mean_mm=3.0).write(folder, source)
    facts = {
        "patient": patient,
        "region": "other",
        "synthetic": True,
        "scans": {scan: {} for scan in ("ct", *sources)},
    }
    write_whole(folder / "patient.json", canonical_json(facts))


def units_of(context):
    return json.loads((context.artefact("registration") / "units.json").read_text())


def test_a_new_patient_costs_one_registration_not_all(make, context, params):
    run_intake(make, context, "XX-01")
    run(context, params)
    before = units_of(context)
    run_intake(make, context, "XX-02", seed=1)
    run(context, params)
    after = units_of(context)
    assert set(after) == {"XX-01_mr", "XX-02_mr"}
    assert after["XX-01_mr"] == before["XX-01_mr"]


def test_every_case_has_a_row_and_a_patient_without_a_ct_has_none(make, context, params):
    run_intake(make, context, "XX-01", ("mr", "cbct"))
    run_intake(make, context, "XX-02")
    facts = context.artefact("ingestion") / "XX-02" / "patient.json"
    write_whole(facts, facts.read_text().replace('"ct"', '"ct2"'))
    run(context, params)
    rows = read_table(context.artefact("registration") / "quality.csv")
    assert [row["case"] for row in rows] == ["XX-01_cbct", "XX-01_mr"] or [
        row["case"] for row in rows
    ] == ["XX-01_mr", "XX-01_cbct"]
    assert set(rows[0]) == set(COLUMNS)
    assert all(row["verdict"] in {"pass", "suspect", "fail"} for row in rows)
    empty = {"reason", "round_trip_p95_mm"}  # there and back is off by default
    empty |= {"bone_darkness_before", "bone_darkness_after"}  # of an MR with enough bone only
    for name in set(COLUMNS) - empty:
        assert rows[0][name] != "", name
    cone_beam = next(row for row in rows if row["source"] == "cbct")
    assert cone_beam["bone_darkness_after"] == ""


def test_an_unfit_pair_is_listed_and_the_others_go_on(make, context, params):
    run_intake(make, context, "XX-01")
    run_intake(make, context, "XX-02", seed=1)
    known = make()
    flat = known.fixed.with_array(np.full(known.fixed.grid.shape, 5, np.float32))
    write_volume(context.artefact("ingestion") / "XX-02" / "mr.zarr", flat)
    run(context, params)
    out = context.artefact("registration")
    excluded = json.loads((out / "excluded.json").read_text())
    assert [(row["unit"], row["code"]) for row in excluded] == [("XX-02_mr", "scan-constant")]
    assert [row["case"] for row in read_table(out / "quality.csv")] == ["XX-01_mr"]


def test_the_methods_sentence_is_a_sentence():
    sentence = run.__doc__.splitlines()[0]
    assert "elastix" in sentence
    assert sentence.endswith(".")


def test_params_name_their_faults():
    with pytest.raises(Exception, match="mr_ABC"):
        parse_params("dataset: demo\nregistration: {presets: {mr_abdomen: mr_ABC}}", where="p")
    with pytest.raises(Exception, match="grid_spacing_mm"):
        parse_params("dataset: demo\nregistration: {grid_spacing_mm: [3, -1, 1]}", where="p")


def test_the_preset_of_a_case_follows_region_variant_and_exceptions():
    usual = RegistrationParams()
    assert usual.preset_name("mr", "head-neck") == "mr_HN"
    assert usual.grid_spacing_mm == (3.0, 1.0, 1.0)
    demo = RegistrationParams(variant="demo", presets={"mr_abdomen": "mr_TH"})
    assert demo.preset_name("cbct", "thorax") == "cbct_TH_demo"
    assert demo.preset_name("mr", "abdomen") == "mr_TH"


def test_real_scans_do_not_take_the_tuning_of_digital_patients_in_silence():
    real, digital = {"case": "AB-01_mr", "synthetic": False}, {"case": "x", "synthetic": True}
    demo = RegistrationParams(variant="demo")
    assert tuned_elsewhere(demo, [digital]) == ""
    assert tuned_elsewhere(RegistrationParams(), [real, digital]) == ""
    told = tuned_elsewhere(demo, [digital, real])
    assert "1 cases of real scans (AB-01_mr" in told
    assert "variant: published" in told


def test_a_grid_much_finer_than_every_scan_is_refused_before_hours_of_work(make, context, params):
    run_intake(make, context, "XX-01")
    file = context.artefact("ingestion") / "XX-01" / "patient.json"
    facts = json.loads(file.read_text())
    facts["scans"] = {name: {"spacing_mm": [5.0, 4.0, 4.0]} for name in facts["scans"]}
    write_whole(file, canonical_json(facts))
    fine = params.model_copy(update={"grid_spacing_mm": (0.5, 0.4, 0.4)})
    with pytest.raises(UsageError, match="holds 1000 or more voxels of the working grid") as caught:
        run(context, fine)
    assert caught.value.code == "grid-too-fine"
    assert not context.artefact("registration").exists()
