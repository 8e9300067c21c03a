"""The stage stores what is fit, names what is not, and does nothing twice."""

from __future__ import annotations

import csv
import json
import shutil

import numpy as np
import pytest

from synthct.data.errors import TooManyExcludedError, UsageError
from synthct.data.files import content_hash
from synthct.data.store.volumes import read_displacement, read_volume
from synthct.data.volume import Displacement, Modality, Volume
from synthct.data.writers import write_displacement_image, write_image
from synthct.tasks.ingestion.dataset import RawTruth, load_dataset
from synthct.tasks.ingestion.params import IngestionParams
from synthct.tasks.ingestion.run import run

PARAMS = IngestionParams()


def out(context, *parts):
    return context.artefact("ingestion").joinpath(*parts)


def rows(context):
    with out(context, "quality.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def excluded(context):
    return json.loads(out(context, "excluded.json").read_text())


def test_a_patient_is_stored_as_the_contract_says(context, make_raw, ct, mr, other_ct):
    cbct = Volume(other_ct.array + 3, other_ct.grid, Modality.CBCT)
    make_raw({"A": {"ct": ct, "mr": mr}, "B": {"ct": other_ct, "cbct": cbct}})
    run(context, PARAMS)
    stored = read_volume(out(context, "A", "ct.zarr"))
    assert stored.array.dtype == np.int16
    assert np.array_equal(stored.array, ct.array)
    assert stored.grid.is_close(ct.grid, 1e-6)
    assert read_volume(out(context, "A", "mr.zarr")).array.dtype == np.float32
    mask = read_volume(out(context, "B", "cbct_body.zarr"))
    assert mask.modality is Modality.MASK
    assert mask.grid.shape == (14, 48, 56)
    facts = json.loads(out(context, "A", "patient.json").read_text())
    assert facts["patient"] == "A"
    assert facts["region"] == "thorax"
    assert facts["scans"]["mr"]["modality"] == "MR"
    assert facts["scans"]["ct"]["spacing_mm"] == [4.0, 3.0, 3.0]
    assert [(row["patient"], row["scan"], row["verdict"]) for row in rows(context)] == [
        ("A", "ct", "pass"), ("A", "mr", "pass"), ("B", "cbct", "pass"), ("B", "ct", "pass"),
    ]  # fmt: skip
    assert excluded(context) == []
    dataset = json.loads(out(context, "dataset.json").read_text())
    assert dataset["patients"]["B"] == {"region": "thorax", "scans": ["cbct", "ct"]}


def test_a_patient_without_ct_or_without_a_source_is_excluded_by_name(context, make_raw, ct, mr):
    make_raw({"A": {"ct": ct, "mr": mr}, "B": {"ct": ct}, "C": {"mr": mr}})
    run(context, PARAMS)
    told = {row["unit"]: row for row in excluded(context)}
    assert set(told) == {"B", "C"}
    assert told["B"]["problem"] == "the patient has no MR or CBCT"
    assert told["C"]["problem"] == "the patient has no CT"
    assert told["C"]["code"] == "missing-modality"
    assert not out(context, "B").exists()


def test_a_spoiled_scan_does_not_take_its_patient_along(context, make_raw, ct, mr):
    bad = Volume(ct.array.astype(np.int16) + 1024, ct.grid, Modality.CBCT)
    make_raw({"A": {"ct": ct, "mr": mr, "cbct": bad}})
    run(context, PARAMS)
    assert [(row["unit"], row["code"]) for row in excluded(context)] == [("A/cbct", "hu-offset")]
    assert not out(context, "A", "cbct.zarr").exists()
    assert {row["scan"]: row["verdict"] for row in rows(context)} == {
        "ct": "pass", "mr": "pass", "cbct": "left out",
    }  # fmt: skip


def test_quarantined_scans_wait_for_a_person(context, make_raw, ct, mr):
    fake = ct.with_array(ct.array.astype(np.int16), Modality.MR)  # a CT called MR
    make_raw({"A": {"ct": ct.with_array(ct.array + 1), "mr": fake}})
    run(context, PARAMS)
    assert "ingestion.released" in json.dumps(excluded(context)) or excluded(context)
    assert not out(context, "A").exists()
    run(context, IngestionParams(released=["A/mr"]))
    assert excluded(context) == []
    assert out(context, "A", "mr.zarr").is_dir()


def test_the_same_image_twice_is_no_pair(context, make_raw, ct):
    make_raw({"A": {"ct": ct, "cbct": Volume(ct.array, ct.grid, Modality.CBCT)}})
    run(context, PARAMS)
    assert "the same voxels" in excluded(context)[0]["problem"]


def test_a_raw_scan_that_changed_since_it_came_is_refused(context, make_raw, ct, mr):
    raw = make_raw({"A": {"ct": ct, "mr": mr}, "B": {"ct": ct, "mr": mr}})
    file = sorted((raw / "B" / "ct").iterdir())[3]
    data = bytearray(file.read_bytes())
    data[-500] ^= 1  # inside raw pixels: no reader could see it
    file.write_bytes(bytes(data))
    shutil.rmtree(raw / "A" / "mr")
    run(context, PARAMS)
    assert {(row["unit"], row["code"]) for row in excluded(context)} == {
        ("A", "raw-changed"), ("B", "raw-changed"),
    }  # fmt: skip


def test_the_second_run_computes_nothing_and_gives_the_same_bytes(
    context, make_raw, ct, mr, monkeypatch
):
    make_raw({"A": {"ct": ct, "mr": mr}})
    run(context, PARAMS)
    first = content_hash(out(context))
    monkeypatch.setattr(
        "synthct.tasks.pipeline.stage.execute", lambda order: pytest.fail("computed again")
    )
    run(context, PARAMS)
    assert content_hash(out(context)) == first


def test_one_more_patient_costs_one_patient(
    context, make_raw, ct, mr, other_ct, other_mr, monkeypatch
):
    import synthct.tasks.pipeline.stage

    make_raw({"A": {"ct": ct, "mr": mr}})
    run(context, PARAMS)
    make_raw({"A": {"ct": ct, "mr": mr}, "B": {"ct": other_ct, "mr": other_mr}})
    ran, real = [], synthct.tasks.pipeline.stage.execute
    monkeypatch.setattr(
        "synthct.tasks.pipeline.stage.execute",
        lambda order: (ran.append(order.unit), real(order))[1],
    )
    run(context, PARAMS)
    assert ran == ["B"]
    assert sorted(p.name for p in out(context).iterdir() if p.is_dir()) == ["A", "B"]


def test_nothing_written_names_the_machine(context, make_raw, ct, mr, tmp_path):
    bad = Volume(ct.array.astype(np.int16) + 1024, ct.grid, Modality.CBCT)
    make_raw({"A": {"ct": ct, "mr": mr, "cbct": bad}, "B": {"mr": mr}})
    run(context, PARAMS)
    for file in out(context).rglob("*"):
        if file.is_file():
            assert str(tmp_path).encode() not in file.read_bytes(), file


def test_truth_of_digital_patients_passes_through(context, make_raw, ct, mr):
    raw = make_raw({"A": {"ct": ct, "mr": mr}})
    labels = ct.with_array((ct.array > 0).astype(np.uint8), Modality.LABELS)
    field = Displacement(np.full((3, *ct.grid.shape), 1.5, np.float32), ct.grid)
    write_image(raw / "A/truth/mr_ct.mha", ct)
    write_image(raw / "A/truth/mr_labels.mha", labels)
    write_displacement_image(raw / "A/truth/mr_displacement.mha", field)
    (raw / "labels.json").write_text('{"1": {"name": "body", "structure": "organ"}}')
    dataset = load_dataset(raw)
    truth = RawTruth(ct="A/truth/mr_ct.mha", labels="A/truth/mr_labels.mha",
                     displacement="A/truth/mr_displacement.mha")  # fmt: skip
    patient = dataset.patients["A"].model_copy(update={"truth": {"mr": truth}})
    dataset.model_copy(update={"patients": {"A": patient}, "synthetic": True}).save(raw)
    run(context, PARAMS)
    stored = read_volume(out(context, "A/truth/mr/labels.zarr"))
    assert np.array_equal(stored.array, labels.array)
    assert stored.grid.is_close(read_volume(out(context, "A/mr.zarr")).grid, 1e-6)
    assert np.array_equal(read_volume(out(context, "A/truth/mr/ct.zarr")).array, ct.array)
    assert (read_displacement(out(context, "A/truth/mr/displacement.zarr")).vectors == 1.5).all()
    assert json.loads(out(context, "labels.json").read_text())["1"]["structure"] == "organ"


def test_too_many_excluded_patients_stop_the_stage(context, make_raw, mr):
    from dataclasses import replace

    make_raw({"A": {"mr": mr}})
    with pytest.raises(TooManyExcludedError, match="A"):
        run(replace(context, max_excluded_fraction=0.5), PARAMS)
    assert not out(context).exists()


def test_without_a_data_set_the_user_is_told_how_to_make_one(context):
    with pytest.raises(UsageError, match="synthct ingest"):
        run(context, PARAMS)


def test_an_oblique_scan_is_stored_straight_with_its_origin_kept(context, make_raw, ct, mr):
    c, s = float(np.cos(0.1)), float(np.sin(0.1))
    from synthct.data.volume import Grid

    grid = Grid(mr.grid.shape, mr.grid.spacing_mm, mr.grid.origin_mm,
                ((c, 0.0, s), (0.0, 1.0, 0.0), (-s, 0.0, c)))  # fmt: skip
    make_raw({"A": {"ct": ct, "mr": Volume(mr.array, grid, Modality.MR)}})
    run(context, PARAMS)
    facts = json.loads(out(context, "A", "patient.json").read_text())["scans"]["mr"]
    assert facts["resampled"] is True
    assert np.allclose(facts["original"]["direction"], grid.direction, atol=1e-9)
    assert [finding["code"] for finding in facts["findings"]][-1] == "oblique"
    assert {row["scan"]: row["verdict"] for row in rows(context)} == {
        "ct": "pass",
        "mr": "repaired",
    }
