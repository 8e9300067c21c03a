"""Scans are ingested once, under a pseudonym, and nothing else is ingested with them."""

from __future__ import annotations

import json
import shutil
import zipfile

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from synthct.data.errors import UsageError
from synthct.data.files import content_hash
from synthct.data.readers import read_scan
from synthct.data.volume import Modality, Volume
from synthct.data.writers.dicom import write_series
from synthct.tasks.ingestion.dataset import Licence, load_dataset
from synthct.tasks.ingestion.params import IngestionParams
from synthct.tasks.ingestion.run import run
from synthct.tasks.intake import plan_intake, run_intake
from synthct.tasks.intake.pseudonym import Pseudonyms
from tests.fixtures.intake import KEY, ingest, tree

pytestmark = pytest.mark.usefixtures("pseudonym_key")


def where(plan, scan):
    """The file behind the one scan of this kind."""
    (row,) = (row for row in plan.rows if row.scan == scan)
    return plan.places[row.place]


def test_mixed_series_are_sorted_into_patients_and_scans(source, tmp_path, ct):
    plan, result = ingest([source], tmp_path / "raw", region="thorax")
    assert [(row.scan, row.modality, row.region, row.status) for row in plan.rows] == [
        ("ct", "CT", "thorax", "new"), ("mr", "MR", "thorax", "new"),
    ] * 2  # fmt: skip
    first = plan.rows[0]
    assert first.size[:2] == (56, 48)
    assert first.spacing_mm == (3.0, 3.0, 4.0)
    assert first.orientation == "LPS"
    assert first.value_range[1] == ct.array.max()
    assert len(result.added) == 4
    dataset = load_dataset(tmp_path / "raw")
    assert set(dataset.patients) == {
        Pseudonyms(KEY.encode()).patient(x) for x in ("DOE123", "ROE456")
    }
    whole = next(p for p in dataset.patients.values() if "ct" in p.scans)
    assert whole.scans["ct"].sha256 == content_hash(tmp_path / "raw" / whole.scans["ct"].path)


def test_planning_writes_nothing(source, tmp_path):
    before = tree(tmp_path)
    plan_intake([source], "demo", tmp_path / "raw")
    assert tree(tmp_path) == before


def test_the_same_sources_again_change_nothing(source, tmp_path):
    ingest([source], tmp_path / "raw")
    before = tree(tmp_path / "raw")
    plan, result = ingest([source], tmp_path / "raw")
    assert result.added == ()
    assert {row.status for row in plan.rows} == {"known"}
    assert tree(tmp_path / "raw") == before


def test_one_more_patient_adds_one(source, tmp_path):
    ingest([source / "DOE123"], tmp_path / "raw")
    before = tree(tmp_path / "raw")
    _, result = ingest([source], tmp_path / "raw")
    assert len(result.added) == 2
    after = tree(tmp_path / "raw")
    assert {name for name in before if after[name] != before[name]} == {"dataset.json"}


def test_voxels_and_places_survive_de_identification(source, tmp_path, ct, mr):
    _, result = ingest([source / "DOE123"], tmp_path / "raw")
    for name, volume in (("ct", ct), ("mr", mr)):
        patient = result.added[0].split("/")[0]
        back = read_scan(tmp_path / "raw" / patient / name)
        assert back.modality is volume.modality
        assert np.array_equal(back.array, volume.array)
        assert back.grid.is_close(volume.grid, 1e-6)


def test_planted_identifiers_do_not_arrive(source, tmp_path):
    secrets = plant(source / "DOE123")
    _, result = ingest([source / "DOE123"], tmp_path / "raw")
    assert len(result.added) == 2
    blob = b"\0".join(name.encode() + data for name, data in tree(tmp_path / "raw").items())
    found = [secret for secret in secrets if secret.encode() in blob]
    assert found == []
    assert len(secrets) > 40


def plant(folder):
    """Identifiers in every text, date and private element, in sequences, in file names."""
    secrets = set()

    def secret(tag, length=12):
        text = f"ZQ{tag}XJ{len(secrets):04d}"[:length]
        secrets.add(text)
        return text

    for number, file in enumerate(sorted(folder.rglob("*.dcm"))):
        dataset = pydicom.dcmread(file)
        dataset.PatientName = f"{secret('nam')}^{secret('giv')}"
        dataset.PatientBirthDate, dataset.StudyDate = "19370514", "20190823"
        dataset.StudyTime = "134759"
        for keyword in ("InstitutionName", "InstitutionAddress", "StationName", "StudyDescription",
                        "SeriesDescription", "PerformingPhysicianName", "OperatorsName",
                        "AccessionNumber", "StudyID", "ProtocolName", "ImageComments",
                        "PatientComments", "DeviceSerialNumber", "PatientAddress",
                        "OtherPatientIDs", "ReferringPhysicianName", "PatientAge",
                        "AdditionalPatientHistory", "RequestedProcedureDescription"):  # fmt: skip
            setattr(dataset, keyword, secret("x", 4) if keyword == "PatientAge" else secret("y"))
        dataset.Manufacturer = f"ACME {dataset.AccessionNumber}"
        item = Dataset()
        item.CodeMeaning = secret("seq")
        dataset.ProcedureCodeSequence = [item]
        block = dataset.private_block(0x0011, secret("priv"), create=True)
        block.add_new(0x01, "LO", secret("priv"))
        overlay = secret("ovl")
        dataset.add_new((0x6000, 0x4000), "LO", overlay)
        file.unlink()
        dataset.save_as(file.with_name(f"{secret('file')}_{number}.dcm"))
    secrets |= {"DOE123", "19370514", "20190823", "134759", "hospital"}
    return {text for text in secrets if len(text) > 5}


def test_uids_are_renamed_but_references_hold(source, tmp_path):
    old = {}
    for file in (source / "DOE123").rglob("*.dcm"):
        header = pydicom.dcmread(file, stop_before_pixels=True)
        old.setdefault(header.FrameOfReferenceUID, set()).add(header.SeriesInstanceUID)
    _, result = ingest([source / "DOE123"], tmp_path / "raw")
    frames, series = set(), set()
    for file in (tmp_path / "raw").rglob("*.dcm"):
        header = pydicom.dcmread(file)
        frames.add(header.FrameOfReferenceUID)
        series.add(header.SeriesInstanceUID)
        assert header.PatientID == result.added[0].split("/")[0]
        assert header.PatientIdentityRemoved == "YES"
        assert not list(header.group_dataset(0x0011))
    assert len(frames) == len(old) == 1
    assert len(series) == 2
    assert not frames & set(old)


def test_cone_beam_stays_cone_beam_without_its_makers_words(tmp_path, ct):
    cbct = Volume(ct.array, ct.grid, Modality.CBCT)
    write_series(tmp_path / "s", cbct, patient_id="XVI", study="1", series_description="x",
                 attributes={"ManufacturerModelName": "XVI"}, uid_seed="t")  # fmt: skip
    _, result = ingest([tmp_path / "s"], tmp_path / "raw")
    assert read_scan(tmp_path / "raw" / result.added[0]).modality is Modality.CBCT


def test_a_zip_is_taken_in_like_its_folder(source, tmp_path, ct):
    with zipfile.ZipFile(tmp_path / "s.zip", "w") as archive:
        for file in (source / "DOE123").rglob("*.dcm"):
            archive.write(file, file.relative_to(source))
    plan, result = ingest([tmp_path / "s.zip"], tmp_path / "raw")
    assert [row.status for row in plan.rows] == ["new", "new"]
    assert np.array_equal(read_scan(tmp_path / "raw" / result.added[0]).array, ct.array)


def test_a_damaged_slice_refuses_its_series_and_names_the_reason(source, tmp_path):
    files = sorted((source / "DOE123" / "deep" / "ct").iterdir())
    files[0].write_bytes(files[0].read_bytes()[:500])  # the first slice: no gap would show
    files = sorted((source / "DOE123" / "deep" / "mr").iterdir())
    files[3].write_bytes(files[3].read_bytes()[:-100])
    plan, result = ingest([source], tmp_path / "raw")
    refused = {row.scan: row.findings[0].code for row in plan.rows if row.status == "refused"}
    assert refused == {"ct": "damaged-beside", "mr": "damaged"}
    assert len(result.added) == 2


def test_one_person_under_two_numbers_is_noticed(source, tmp_path, ct):
    ingest([source / "DOE123"], tmp_path / "raw")
    write_series(tmp_path / "again", ct, patient_id="OTHER", study="1", series_description="x",
                 uid_seed="t")  # fmt: skip
    plan, result = ingest([tmp_path / "again"], tmp_path / "raw")
    assert result.added == ()
    assert plan.rows[0].findings[-1].code == "same-scan-elsewhere"


def test_a_second_ct_of_a_patient_does_not_replace_the_first(source, tmp_path, ct):
    ingest([source / "DOE123"], tmp_path / "raw")
    before = tree(tmp_path / "raw")
    write_series(tmp_path / "later", ct.with_array(ct.array + 1), patient_id="DOE123", study="2",
                 series_description="x", uid_seed="t")  # fmt: skip
    plan, _ = ingest([tmp_path / "later"], tmp_path / "raw")
    assert plan.rows[0].status == "refused"
    assert plan.rows[0].findings[-1].code == "second-scan"
    assert tree(tmp_path / "raw") == before


@pytest.mark.slow
def test_a_kill_between_patients_is_mended_by_the_same_command(source, tmp_path):
    def dies(done, total, what):
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_intake(plan_intake([source], "demo", tmp_path / "raw"), dies)
    assert len(load_dataset(tmp_path / "raw").patients) == 1
    _, result = ingest([source], tmp_path / "raw")
    assert len(result.added) == 2
    fresh = tmp_path / "fresh"
    ingest([source], fresh)
    assert tree(fresh) == tree(tmp_path / "raw")


def test_real_scans_are_not_mixed_with_digital_patients(make_raw, source, ct, mr):
    raw = make_raw({"A": {"ct": ct, "mr": mr}})
    load_dataset(raw).model_copy(update={"synthetic": True}).save(raw)
    with pytest.raises(UsageError, match="digital patients"):
        plan_intake([source], "demo", raw)


def test_a_source_that_is_not_there_is_a_mistake_of_use(tmp_path):
    with pytest.raises(UsageError, match="the source does not exist"):
        plan_intake([tmp_path / "nowhere"], "demo", tmp_path / "raw")


def test_real_patients_come_in_from_dicom_and_from_nifti_alike(shared_data, tmp_path):
    folder = shared_data / "sts_mr_ct"
    plan, result = ingest([folder / "STS_001", folder / "STS_002"], tmp_path / "raw",
                          licence=Licence(name="CC BY 3.0"))  # fmt: skip
    assert [(scan.row.scan, scan.row.format) for scan in plan.scans] == [
        ("ct", "dicom"), ("mr", "dicom"),
    ] * 2  # fmt: skip
    assert [extra.row.scan for extra in plan.attachments] == ["structures-ct"]
    assert sum("the same scan as" in note for note in plan.notes) == 4
    assert load_dataset(tmp_path / "raw").licence.name == "CC BY 3.0"
    files = tmp_path / "nifti" / "STS_002"
    files.mkdir(parents=True)
    for name in ("CT.nii.gz", "MR_T1.nii.gz"):
        shutil.copy(folder / "STS_002" / name, files / name)
    again = plan_intake([files], "demo", tmp_path / "raw")
    assert {row.status for row in again.rows} == {"known"}
    blob = b"".join(name.encode() + data for name, data in tree(tmp_path / "raw").items())
    assert b"STS_00" not in blob
    assert len(result.added) == 5


def test_what_was_taken_in_passes_the_stage(context, source):
    raw = context.layout.raw.absolute()
    ingest([source], raw, region="thorax")
    run(context, IngestionParams())
    out = context.artefact("ingestion")
    assert json.loads((out / "excluded.json").read_text()) == []
    assert len(list(out.glob("P-*/mr_body.zarr"))) == 2
