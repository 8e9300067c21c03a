"""Structures and doses are ingested with their scan, and without names."""

from __future__ import annotations

import json

import numpy as np
import pydicom
import pytest

from synthct.data.files import content_hash
from synthct.data.readers import read_scan
from synthct.data.store.volumes import read_volume
from synthct.data.volume import Modality
from synthct.data.writers.dicom import write_series
from synthct.tasks.evaluation.inputs import Target
from synthct.tasks.evaluation.structures.files import read_side
from synthct.tasks.ingestion.dataset import RawDataset, load_dataset
from synthct.tasks.ingestion.params import IngestionParams
from synthct.tasks.ingestion.run import run
from synthct.tasks.intake import plan_intake
from synthct.tasks.intake.structure_names import known_name, neutral_names
from tests.fixtures.intake import ingest, row_of, tree
from tests.fixtures.radiotherapy import dose_file, square, structure_set

PARAMS = IngestionParams()
pytestmark = pytest.mark.usefixtures("pseudonym_key")


@pytest.fixture
def pacs(tmp_path, ct, mr):
    """A patient's CT and MR; ``uids`` of the CT."""
    for name, volume in {"ct": ct, "mr": mr}.items():
        write_series(tmp_path / "pacs" / name, volume, patient_id="DOE123", study="1",
                     series_description=name, uid_seed="hospital")  # fmt: skip
    return tmp_path / "pacs"


@pytest.fixture
def uids(pacs):
    header = pydicom.dcmread(next((pacs / "ct").glob("*.dcm")), stop_before_pixels=True)
    return {"series": str(header.SeriesInstanceUID), "frame": str(header.FrameOfReferenceUID)}


STRUCTURES = {
    "GTV Doe": [square(-11.5, 11.5, z) for z in (-10.0, -6.0, -2.0)],
    "Bladder": [square(-20.5, -5.5, z) for z in (-14.0, -10.0)],
    "elsewhere": [square(0, 9, 900.0)],
}


def add_structures(pacs, uids, **changes):
    given = {"PatientID": "DOE123", **uids, **changes}
    return structure_set(pacs / "rt" / "RS_Doe.dcm", STRUCTURES, **given)


def add_dose(pacs, uids, name="RD", **changes):
    values = np.random.default_rng(1).integers(0, 6_000_000, (4, 12, 14))
    given = {"PatientID": "DOE123", "FrameOfReferenceUID": uids["frame"], **changes}
    return dose_file(pacs / "rt" / f"{name}.dcm", values, **given), values


def test_structures_become_masks_on_their_scan_without_a_typed_name(pacs, uids, tmp_path, ct):
    add_structures(pacs, uids)
    plan, result = ingest([pacs], tmp_path / "raw")
    patient = plan.rows[0].patient
    assert f"{patient}/structures-ct" in result.added
    row = row_of(plan, "structures-ct")
    assert row.size == ct.grid.shape[::-1]
    said = " ".join(one.sentence for one in row.findings)
    assert "structure-1" in said
    assert "bladder" in said
    assert "structure-3 (structure-elsewhere)" in said
    assert "Doe" not in said
    folder = tmp_path / "raw" / patient / "structures" / "ct"
    assert sorted(file.name for file in folder.iterdir()) == ["bladder.mha", "structure-1.mha"]
    mask = read_scan(folder / "structure-1.mha", Modality.MASK)
    assert mask.grid.is_close(ct.grid, 1e-6)
    centres = mask.grid.points(np.argwhere(mask.array > 0))
    assert centres.min(axis=0).tolist() == [-10.0, -10.0, -10.0]
    assert centres.max(axis=0).tolist() == [-2.0, 11.0, 11.0]
    blob = b"".join(name.encode() + data for name, data in tree(tmp_path / "raw").items())
    for secret in (b"Doe", b"DOE", uids["series"].encode(), uids["frame"].encode()):
        assert secret not in blob


def test_contours_that_cross_are_joined_without_a_word(pacs, uids, tmp_path):
    boxes = {"Bladder": [square(-20.5, -5.5, -10.0), square(-10.5, 3.5, -10.0)]}
    structure_set(pacs / "rt" / "RS.dcm", boxes, PatientID="DOE123", **uids)
    row = row_of(plan_intake([pacs], "demo", tmp_path / "raw"), "structures-ct")
    (told,) = (one.sentence for one in row.findings if one.code == "contours-cross")
    assert told.endswith("bladder in 1")


def test_the_same_command_again_changes_nothing_beside_scans(pacs, uids, tmp_path):
    add_structures(pacs, uids)
    add_dose(pacs, uids)
    ingest([pacs], tmp_path / "raw")
    before = tree(tmp_path / "raw")
    plan, result = ingest([pacs], tmp_path / "raw")
    assert {row.status for row in plan.rows} == {"known"}
    assert result.added == ()
    assert tree(tmp_path / "raw") == before


def test_structures_that_come_later_find_their_scan_in_the_data_set(pacs, uids, tmp_path):
    ingest([pacs], tmp_path / "raw")
    before = tree(tmp_path / "raw")
    file = add_structures(pacs, uids)
    plan, result = ingest([file.parent], tmp_path / "raw")
    (added,) = result.added
    assert added.endswith("/structures-ct")
    assert [row.scan for row in plan.rows] == ["structures-ct"]
    after = tree(tmp_path / "raw")
    assert {name for name in before if after[name] != before[name]} == {"dataset.json"}


def test_a_structure_set_whose_scan_is_absent_is_listed_with_the_reason(pacs, uids, tmp_path):
    file = add_structures(pacs, uids, series="1.2.3.4", frame="1.2.3.5")
    plan, result = ingest([file.parent], tmp_path / "raw")
    (row,) = plan.rows
    assert (row.status, row.findings[0].code) == ("refused", "scan-absent")
    assert result.added == ()
    assert not (tmp_path / "raw").exists()


def test_structures_of_another_patients_number_are_refused(pacs, uids, tmp_path):
    add_structures(pacs, uids, PatientID="ROE456")
    plan, _ = ingest([pacs], tmp_path / "raw")
    row = row_of(plan, "structures")
    assert (row.status, row.findings[0].code) == ("refused", "structures-of-another")


def test_structures_without_their_series_are_drawn_in_the_same_coordinates(pacs, uids, tmp_path):
    add_structures(pacs, uids, series="1.2.3.4")
    plan, _ = ingest([pacs], tmp_path / "raw")
    codes = [one.code for one in row_of(plan, "structures-ct").findings]
    assert "structures-by-frame" in codes


def test_a_damaged_structure_sinks_no_other_and_tells_no_name(pacs, uids, tmp_path):
    file = add_structures(pacs, uids)
    dataset = pydicom.dcmread(file)
    dataset.ROIContourSequence[0].ContourSequence[0].ContourData = ["1", "2"]
    dataset.save_as(file)
    plan, result = ingest([pacs], tmp_path / "raw")
    assert len(result.added) == 3
    told = [one.sentence for one in row_of(plan, "structures-ct").findings]
    assert "bladder" in told[0]
    assert any("(damaged)" in one for one in told)
    assert "Doe" not in repr(plan.rows)


def test_two_structures_of_one_name_both_come_in(pacs, uids, tmp_path):
    twice = {"Heart": [square(-11.5, 11.5, -10.0)], "heart_b": [square(-20.5, -5.5, -10.0)]}
    file = structure_set(pacs / "rt" / "RS.dcm", twice, PatientID="DOE123", **uids)
    dataset = pydicom.dcmread(file)
    dataset.StructureSetROISequence[1].ROIName = "Heart"
    dataset.save_as(file)
    plan, _ = ingest([pacs], tmp_path / "raw")
    folder = tmp_path / "raw" / plan.rows[0].patient / "structures" / "ct"
    voxels = {
        file.name: int(read_scan(file, Modality.MASK).array.sum()) for file in folder.iterdir()
    }
    assert voxels == {"heart.mha": 8 * 8, "heart_1.mha": 5 * 5}


def test_a_manifest_gives_structures_with_foreign_uids_to_their_scan(pacs, uids, tmp_path):
    file = add_structures(pacs, uids, series="1.2.3.4", frame="1.2.3.5", PatientID="OTHER")
    (pacs / "m.csv").write_text(
        f"path,patient,modality,region\n{file.relative_to(pacs)},DOE123,,\n"
    )
    assert row_of(plan_intake([pacs], "demo", tmp_path / "raw"), "structures").status == "refused"
    plan = plan_intake([pacs], "demo", tmp_path / "raw", pacs / "m.csv")
    row = row_of(plan, "structures-ct")
    assert row.status == "new"
    assert "belongs-by-manifest" in {one.code for one in row.findings}
    (pacs / "m.csv").write_text(
        f"path,patient,modality,region\n{file.relative_to(pacs)},DOE123,MR,\n"
    )
    plan = plan_intake([pacs], "demo", tmp_path / "raw", pacs / "m.csv")
    assert row_of(plan, "structures-mr").status == "new"


@pytest.mark.parametrize(("shift_mm", "status"), [(0, "new"), (900, "refused")])
def test_a_manifest_gives_a_dose_with_a_foreign_frame_to_its_scan(
    pacs, uids, tmp_path, shift_mm, status
):
    file, _ = add_dose(pacs, uids, FrameOfReferenceUID="1.2.3.4",
                       ImagePositionPatient=[-10.0, 20.0, -20.0 + shift_mm])  # fmt: skip
    (pacs / "m.csv").write_text(
        f"path,patient,modality,region\n{file.relative_to(pacs)},DOE123,,\n"
    )
    plan = plan_intake([pacs], "demo", tmp_path / "raw", pacs / "m.csv")
    assert row_of(plan, "dose").status == status


def test_a_dose_keeps_its_grid_and_its_gray(pacs, uids, tmp_path):
    _, values = add_dose(pacs, uids)
    add_dose(pacs, uids, "beam", DoseSummationType="BEAM")
    plan, _ = ingest([pacs], tmp_path / "raw")
    refused = [row for row in plan.rows if row.status == "refused"]
    assert [one.findings[0].code for one in refused] == ["dose-of-a-part"]
    dose = read_scan(tmp_path / "raw" / plan.rows[0].patient / "dose.mha", Modality.DOSE)
    assert dose.array.dtype == np.float32
    assert np.allclose(dose.array, values * 1e-5, rtol=1e-6)
    assert dose.grid.spacing_mm == (2.5, 1.5, 2.0)


def test_a_dose_in_other_coordinates_is_refused(pacs, uids, tmp_path):
    add_dose(pacs, uids, FrameOfReferenceUID="1.2.3.4")
    plan, _ = ingest([pacs], tmp_path / "raw")
    assert row_of(plan, "dose").findings[0].code == "scan-absent"


def test_the_stage_stores_them_beside_the_scans(context, pacs, uids, ct):
    raw = context.layout.raw.absolute()
    add_structures(pacs, uids)
    _, values = add_dose(pacs, uids)
    plan, _ = ingest([pacs], raw, region="thorax")
    run(context, PARAMS)
    out = context.artefact("ingestion").absolute() / plan.rows[0].patient
    mask = read_volume(out / "structures" / "ct" / "bladder.zarr")
    assert mask.array.dtype == np.uint8
    assert mask.grid == read_volume(out / "ct.zarr").grid
    assert mask.array.sum() == 2 * 5 * 5  # two slices of a square of 15 mm in voxels of 3 mm
    dose = read_volume(out / "dose.zarr")
    assert dose.array.dtype == np.float32
    assert dose.array.max() == pytest.approx(values.max() * 1e-5)
    facts = json.loads((out / "patient.json").read_text())
    assert set(facts["structures"]["ct"]) == {"bladder", "structure-1"}
    assert facts["dose"]["max_gy"] == float(dose.array.max())
    inside = np.ones(ct.array.shape, bool)
    read = read_side(out / "structures", "ct", Target(mask.grid, resample=False), inside)
    assert read["bladder"].sum() == mask.array.sum()


def test_structures_of_one_patient_compute_no_other_patient_anew(
    context, pacs, uids, tmp_path, other_ct, other_mr, capsys
):
    raw = context.layout.raw.absolute()
    for name, volume in {"ct": other_ct, "mr": other_mr}.items():
        write_series(tmp_path / "more" / name, volume, patient_id="ROE", study="1",
                     series_description=name, uid_seed="more")  # fmt: skip
    ingest([pacs, tmp_path / "more"], raw, region="thorax")
    run(context, PARAMS)
    keys = json.loads((context.artefact("ingestion") / "units.json").read_text())
    _, result = ingest([add_structures(pacs, uids).parent], raw)
    patient = result.added[0].split("/")[0]
    run(context, PARAMS)
    after = json.loads((context.artefact("ingestion") / "units.json").read_text())
    assert {name for name in keys if keys[name] != after[name]} == {patient}


def test_a_structure_file_that_changed_since_it_came_is_refused(context, pacs, uids):
    raw = context.layout.raw.absolute()
    add_structures(pacs, uids)
    plan, _ = ingest([pacs], raw, region="thorax")
    file = raw / plan.rows[0].patient / "structures" / "ct" / "bladder.mha"
    file.write_bytes(file.read_bytes() + b"\0")
    run(context, PARAMS)
    excluded = json.loads((context.artefact("ingestion") / "excluded.json").read_text())
    assert [(one["code"], one["where"].split("/")[1]) for one in excluded] == [
        ("raw-changed", "structures-ct")
    ]


def test_an_older_dataset_json_still_loads_and_stays_as_it_is(make_raw, ct, mr):
    raw = make_raw({"A": {"ct": ct, "mr": mr}})
    text = (raw / "dataset.json").read_text()
    assert "structures" not in text
    assert "dose" not in text
    load_dataset(raw).save(raw)
    assert (raw / "dataset.json").read_text() == text
    assert RawDataset.model_validate_json(text).patients["A"].dose is None
    assert content_hash(raw / "dataset.json")


@pytest.mark.parametrize(
    ("typed", "kept"),
    [("Parotid_L", "parotid_l"), ("GTV_Mass_CT", "gtv_mass_ct"), ("PTVn1_5400", "ptvn1_5400"),
     ("SpinalCord PRV05", ""), ("Spinal Cord", "spinal_cord"), ("BODY", "body"),
     ("SpinalCord", "spinal_cord"), ("PTV Müller", ""), ("ptv 1970", ""), ("19370514", ""),
     ("Lung^Doe", ""), ("../../etc/heart", ""), ("T12", "t12"), ("7000", ""), ("", "")],
)  # fmt: skip
def test_only_names_made_of_terms_are_kept(typed, kept):
    assert known_name(typed) == kept


def test_two_structures_that_read_the_same_keep_two_files():
    assert neutral_names(["Heart", "HEART", "Doe"]) == ["heart", "heart-2", "structure-3"]
