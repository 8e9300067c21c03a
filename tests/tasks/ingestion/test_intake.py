"""Scans come in once, under a pseudonym, and nothing else comes with them."""

from __future__ import annotations

import json
import shutil
import stat
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.dataset import Dataset

from synthct.data.errors import UsageError
from synthct.data.files import content_hash
from synthct.data.readers import read_scan
from synthct.data.volume import Modality, Volume
from synthct.data.writers import write_image
from synthct.data.writers.dicom import write_series
from synthct.tasks.ingestion.dataset import Licence, load_dataset
from synthct.tasks.ingestion.params import IngestionParams
from synthct.tasks.ingestion.run import run
from synthct.tasks.intake import plan_intake, take_in
from synthct.tasks.intake.manifest import read_manifest
from synthct.tasks.intake.pseudonym import Pseudonyms, key_file, load_pseudonyms, new_key

KEY = "a key of more than sixteen characters"


@pytest.fixture(autouse=True)
def _key(monkeypatch):
    monkeypatch.setenv("SYNTHCT_PSEUDONYM_KEY", KEY)


@pytest.fixture
def source(tmp_path, ct, mr, other_ct, other_mr):
    """Two patients as a hospital sends them: nested, mixed."""

    def send(patient, scans):
        for name, volume in scans.items():
            write_series(tmp_path / "pacs" / patient / "deep" / name, volume, patient_id=patient,
                         study="1", series_description=name, uid_seed="hospital")  # fmt: skip
        return tmp_path / "pacs" / patient

    send("DOE123", {"ct": ct, "mr": mr})
    send("ROE456", {"ct": other_ct, "mr": other_mr})
    return tmp_path / "pacs"


def ingest(sources, raw, **options):
    plan = plan_intake(sources, "demo", raw, **options)
    return plan, take_in(plan)


def where(plan, scan):
    """The file behind the one scan of this kind."""
    (row,) = (row for row in plan.rows if row.scan == scan)
    return plan.places[row.place]


def tree(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes()
            for path in folder.rglob("*") if path.is_file()}  # fmt: skip


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


class TestImageFiles:
    @pytest.fixture
    def case(self, tmp_path, ct, mr):
        folder = tmp_path / "files" / "1ABA001"
        write_image(folder / "ct.nii.gz", ct)
        write_image(folder / "MR_T1.mha", mr)
        write_image(folder / "mask.mha", ct.with_array(ct.array > 0, Modality.MASK))
        return folder

    def test_file_names_and_voxels_together_say_ct_or_mr(self, case, tmp_path, ct):
        plan, result = ingest([case], tmp_path / "raw")
        assert [(row.scan, row.format) for row in plan.rows] == [
            ("ct", "nifti"),
            ("mr", "metaimage"),
        ]
        assert "taken from the file name" in plan.rows[0].findings[-1].sentence
        assert any("mask" in note for note in plan.notes)
        taken = read_scan(tmp_path / "raw" / f"{result.added[0]}.mha", Modality.CT)
        assert np.array_equal(taken.array, ct.array)

    def test_a_name_that_the_voxels_deny_is_refused(self, case, tmp_path):
        shutil.copy(case / "MR_T1.mha", case / "ct.mha")
        (case / "ct.nii.gz").unlink()
        plan, _ = ingest([case], tmp_path / "raw")
        assert {row.scan: row.status for row in plan.rows} == {"ct": "refused", "mr": "new"}

    def test_a_name_cannot_say_cbct_but_a_manifest_can(self, case, tmp_path):
        (case / "ct.nii.gz").rename(case / "cbct.nii.gz")
        plan = plan_intake([case], "demo", tmp_path / "raw")
        assert [row.scan for row in plan.rows] == ["mr"]
        assert any("manifest" in note for note in plan.notes)
        manifest = tmp_path / "files" / "manifest.csv"
        manifest.write_text("path,patient,modality,region\n1ABA001/cbct.nii.gz,Max,CBCT,thorax\n")
        plan = plan_intake([case], "demo", tmp_path / "raw", manifest)
        said = {row.scan: (row.patient, row.region) for row in plan.rows}
        assert said["cbct"] == (Pseudonyms(KEY.encode()).patient("Max"), "thorax")
        assert said["mr"][1] == "other"

    def test_a_manifest_chooses_between_two_scans_of_a_patient(self, case, tmp_path, mr):
        write_image(case / "mr_t2.mha", mr.crop((0,) * 3, (12, 48, 56)))
        plan = plan_intake([case], "demo", tmp_path / "raw")
        assert where(plan, "mr").endswith("MR_T1.mha")
        (tmp_path / "m.csv").write_text(
            "path,patient,modality,region\nfiles/1ABA001/mr_t2.mha,,MR,\n"
        )
        plan = plan_intake([case], "demo", tmp_path / "raw", tmp_path / "m.csv")
        assert where(plan, "mr").endswith("mr_t2.mha")
        assert any("another scan than" in note for note in plan.notes)

    @pytest.mark.parametrize("written", [
        b"\xef\xbb\xbfpath,patient,modality,region\r\n1ABA001/cbct.nii.gz,Max,CBCT,thorax\r\n",
        b"Path;Patient;Modality;Region;about\r\n1ABA001/cbct.nii.gz;Max;cbct;thorax;x\r\n;;;;\r\n",
        b"sep=;\r\npath;patient;modality;region\r\n1ABA001/cbct.nii.gz;Max;CBCT;thorax\r\n",
        "path\tpatient\tmodality\tregion\n1ABA001/cbct.nii.gz\tMax\tCBCT\tthorax\n".encode("utf-16"),
        b'"path";"patient";"modality";"region"\n"1ABA001/cbct.nii.gz";"Max";"CBCT";"thorax"\n',
    ], ids=["mark", "semicolons", "sep", "UTF-16", "quoted"])  # fmt: skip
    def test_a_manifest_is_read_as_a_spreadsheet_saves_it(self, case, tmp_path, written):
        (case / "ct.nii.gz").rename(case / "cbct.nii.gz")
        manifest = case.parent / "m.csv"
        manifest.write_bytes(written)
        (row,) = read_manifest(manifest).values()
        assert (row.patient, row.modality, row.region) == ("Max", Modality.CBCT, "thorax")

    def test_an_umlaut_is_read_however_it_was_saved(self, tmp_path):
        (tmp_path / "Müller").mkdir()
        for number, data in enumerate(["Müller".encode("cp1252"), "Mu\u0308ller".encode()]):
            manifest = tmp_path / f"{number}.csv"
            manifest.write_bytes(b"path;patient;modality;region\n" + data + b";7;;\n")
            assert [row.patient for row in read_manifest(manifest).values()] == ["7"]

    def test_a_manifest_that_says_two_things_of_one_file_is_a_mistake_of_use(self, case, tmp_path):
        (case / "m.csv").write_text(
            "path,patient,modality,region\nct.nii.gz,A,CT,\nct.nii.gz,B,CT,\n"
        )
        with pytest.raises(UsageError, match="names a path once"):
            read_manifest(case / "m.csv")

    def test_texts_in_headers_stay_behind(self, case, tmp_path):
        image = sitk.ReadImage(str(case / "MR_T1.mha"))
        image.SetMetaData("Comment", "ZQSECRET Jane Doe")
        sitk.WriteImage(image, str(case / "MR_T1.mha"))
        assert b"ZQSECRET" in (case / "MR_T1.mha").read_bytes()
        ingest([case], tmp_path / "raw")
        blob = b"".join(name.encode() + data for name, data in tree(tmp_path / "raw").items())
        assert b"ZQSECRET" not in blob
        assert b"1ABA001" not in blob

    @pytest.mark.parametrize("text", ["path,patient\n", "", "path,patient,modality,region\nno,,,\n",
                                      "path,patient,modality,region\n1ABA001,,PET,\n"])  # fmt: skip
    def test_a_wrong_manifest_is_a_mistake_of_use(self, case, tmp_path, text):
        (tmp_path / "files" / "m.csv").write_text(text)
        with pytest.raises(UsageError, match="manifest"):
            plan_intake([case], "demo", tmp_path / "raw", tmp_path / "files" / "m.csv")


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


def test_a_kill_between_patients_is_mended_by_the_same_command(source, tmp_path):
    def dies(done, total, what):
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        take_in(plan_intake([source], "demo", tmp_path / "raw"), dies)
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


def test_a_key_is_made_on_request_once_and_only_its_owner_may_read_it(tmp_path, monkeypatch):
    monkeypatch.delenv("SYNTHCT_PSEUDONYM_KEY")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    with pytest.raises(UsageError, match="synthct key --new"):
        load_pseudonyms()
    assert not key_file().exists()
    new_key()
    first = load_pseudonyms()
    assert stat.S_IMODE(key_file().stat().st_mode) == 0o600
    with pytest.raises(UsageError, match="there is a key already"):
        new_key()
    assert load_pseudonyms() == first
    key_file().unlink()
    new_key()
    assert load_pseudonyms().patient("DOE") != first.patient("DOE")
    assert KEY not in repr(Pseudonyms(KEY.encode()))


def test_another_key_does_not_make_six_people_of_three(source, tmp_path, monkeypatch):
    ingest([source], tmp_path / "raw")
    before = tree(tmp_path / "raw")
    document = json.loads(before["dataset.json"])
    assert document["key_check"] == Pseudonyms(KEY.encode()).check
    monkeypatch.setenv("SYNTHCT_PSEUDONYM_KEY", "another key of many characters")
    with pytest.raises(UsageError) as caught:
        plan_intake([source], "demo", tmp_path / "raw")
    assert caught.value.code == "another-key"
    assert tree(tmp_path / "raw") == before


def test_a_data_set_of_before_gets_the_check_value_of_the_key_with_the_next_patient(
    source, tmp_path
):
    raw = tmp_path / "raw"
    ingest([source / "DOE123"], raw)
    load_dataset(raw).model_copy(update={"key_check": ""}).save(raw)
    assert "key_check" not in (raw / "dataset.json").read_text()
    ingest([source], raw)
    assert load_dataset(raw).key_check == Pseudonyms(KEY.encode()).check


RACE = """
import sys, time
from pathlib import Path
from synthct.tasks.intake import plan_intake, take_in
source, raw, ready, go = map(Path, sys.argv[1:])
plan = plan_intake([source], "demo", raw)
ready.touch()
while not go.exists():
    time.sleep(0.01)
print(*take_in(plan).added)
"""


def test_two_intakes_at_once_lose_no_patient(source, tmp_path):
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACE, str(source / name), str(tmp_path / "raw"),
             str(tmp_path / name), str(tmp_path / "go")],
            cwd=Path(__file__).resolve().parents[3], stdout=subprocess.PIPE, text=True,
        )
        for name in ("DOE123", "ROE456")
    ]  # fmt: skip
    deadline = time.monotonic() + 120
    while not all((tmp_path / name).exists() for name in ("DOE123", "ROE456")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    (tmp_path / "go").touch()
    added = " ".join(racer.communicate(timeout=120)[0] for racer in racers).split()
    assert len(added) == 4
    patients = load_dataset(tmp_path / "raw").patients
    assert sorted(f"{p}/{scan}" for p, one in patients.items() for scan in one.scans) == sorted(
        added
    )


def test_what_another_intake_entered_meanwhile_stays(source, tmp_path):
    plan = plan_intake([source], "demo", tmp_path / "raw")
    ingest([source / "DOE123"], tmp_path / "raw")
    before = tree(tmp_path / "raw")
    result = take_in(plan)
    assert (len(result.added), len(result.overtaken)) == (2, 2)
    after = tree(tmp_path / "raw")
    assert {name for name in before if after[name] != before[name]} == {"dataset.json"}


def test_a_short_key_is_refused(monkeypatch):
    monkeypatch.setenv("SYNTHCT_PSEUDONYM_KEY", "short")
    with pytest.raises(UsageError, match="16 characters"):
        load_pseudonyms()


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
