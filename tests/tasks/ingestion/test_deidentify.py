"""Intervals between dates are kept, unknown words are dropped, faces are made unrecognisable."""

from __future__ import annotations

import shutil
import subprocess
from datetime import date

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from synthct.data.errors import DataError
from synthct.data.readers import read_scan
from synthct.data.volume import Modality, Volume
from synthct.data.writers.dicom import write_series
from synthct.tasks.ingestion.canonical import stored_type
from synthct.tasks.ingestion.deface import DEPTH_MM, defaced
from synthct.tasks.intake import plan_intake, run_intake
from synthct.tasks.intake.deidentify import shifted
from synthct.tasks.intake.scrub import redact, redact_values, redacted_message
from synthct.tasks.intake.vocabulary import allowed
from tests.fixtures.clean_scans import clean_patient


@pytest.fixture(autouse=True)
def _key(monkeypatch):
    monkeypatch.setenv("SYNTHCT_PSEUDONYM_KEY", "a key of more than sixteen characters")


@pytest.mark.parametrize(
    ("day", "days", "there"),
    [("20200301", 1, "20200229"), ("20190101", 365, "20180101"), ("", 5, ""), ("20201345", 5, ""),
     ("unknown", 5, ""), ("00010101", 400, "")],
)  # fmt: skip
def test_dates_by_hand(day, days, there):
    assert shifted(day, days) == there


def test_the_days_between_scans_of_a_patient_stay_and_the_days_do_not(tmp_path, ct, mr):
    days = {"ct": "20210310", "mr": "20210324"}
    for name, volume in (("ct", ct), ("mr", mr)):
        write_series(tmp_path / "pacs" / name, volume, patient_id="DOE", study=name,
                     series_description=name, uid_seed="d",
                     attributes={"StudyDate": days[name]})  # fmt: skip
    result = run_intake(plan_intake([tmp_path / "pacs"], "demo", tmp_path / "raw"))
    there = {}
    for added in result.added:
        header = pydicom.dcmread(tmp_path / "raw" / added / "0000.dcm")
        there[added.split("/")[1]] = date.fromisoformat(header.StudyDate)
        assert header.LongitudinalTemporalInformationModified == "MODIFIED"
        codes = [item.CodeValue for item in header.DeidentificationMethodCodeSequence]
        assert codes == ["113100", "113107"]
    assert (there["mr"] - there["ct"]).days == 14
    assert there["ct"] < date(2021, 3, 10)


TYPE_2 = {
    "ct": ["Manufacturer", "SliceThickness", "AcquisitionNumber", "KVP", "PatientBirthDate",
           "PatientSex", "StudyTime", "AccessionNumber", "ReferringPhysicianName", "StudyID",
           "SeriesNumber", "PositionReferenceIndicator", "Laterality"],
    "mr": ["Manufacturer", "SliceThickness", "ScanOptions", "MRAcquisitionType", "EchoTime",
           "EchoTrainLength", "Laterality"],
}  # fmt: skip
"""Elements that PS3.3 wants in a CT or MR, empty where there is nothing to say."""


def test_elements_that_may_be_empty_are_never_lost(tmp_path, ct, mr):
    for name, volume in (("ct", ct), ("mr", mr)):
        files = write_series(tmp_path / "pacs" / name, volume, patient_id="DOE", study=name,
                             series_description=name, uid_seed="d")  # fmt: skip
        for file in files:
            dataset = pydicom.dcmread(file)
            for keyword in (*TYPE_2[name], "ScanningSequence"):
                if keyword in dataset:
                    del dataset[keyword]
            dataset.save_as(file)
    result = run_intake(plan_intake([tmp_path / "pacs"], "demo", tmp_path / "raw"))
    assert len(result.added) == 2
    for added in result.added:
        header = pydicom.dcmread(tmp_path / "raw" / added / "0000.dcm")
        absent = [keyword for keyword in TYPE_2[added.split("/")[1]] if keyword not in header]
        assert absent == []
        assert added.endswith("ct") or header.ScanningSequence == "RM"


def test_a_copy_of_a_valid_series_is_not_valid(tmp_path, ct, mr):
    validator = shutil.which("dciodvfy")
    if validator is None:
        pytest.skip("dciodvfy is absent (Debian package dicom3tools)")
    for name, volume in (("ct", ct), ("mr", mr)):
        for file in write_series(tmp_path / "pacs" / name, volume, patient_id="DOE", study=name,
                                 series_description=name, uid_seed="d"):  # fmt: skip
            dataset = pydicom.dcmread(file)
            dataset.Laterality = ""
            dataset.save_as(file)
    result = run_intake(plan_intake([tmp_path / "pacs"], "demo", tmp_path / "raw"))
    copies = [tmp_path / "raw" / added for added in result.added]
    for folder in (tmp_path / "pacs/ct", tmp_path / "pacs/mr", *copies):
        done = subprocess.run(
            [validator, str(min(folder.glob("*.dcm")))], capture_output=True, text=True
        )
        assert "Error" not in done.stdout + done.stderr, folder


@pytest.mark.parametrize(
    ("keyword", "text", "kept"),
    [("Manufacturer", "SIEMENS / MIM Software", True), ("Manufacturer", "ACME Doe", False),
     ("Manufacturer", "Philips Medical Systems", True),
     ("ManufacturerModelName", "OBI Cone-beam CT", True),
     ("ManufacturerModelName", "Avanto of Dr Doe", False), ("BodyPartExamined", "thigh", True),
     ("BodyPartExamined", "DOE", False), ("ConvolutionKernel", "B30f", True),
     ("ConvolutionKernel", "Jane", False), ("PatientPosition", "HFS", True),
     ("PatientName", "Doe", False)],
)  # fmt: skip
def test_only_known_words_stay(keyword, text, kept):
    assert bool(allowed(keyword, text)) is kept


def test_names_of_files_and_uids_do_not_stand_in_sentences():
    told = redact("1.2.840.113619.2.55 (Doe_Jane.dcm) at 12.5 mm", {"Doe_Jane.dcm", "Doe"})
    assert told == "… (…) at 12.5 mm"


@pytest.fixture(scope="module")
def head():
    return stored_type(clean_patient(0)[1].ct)


def front(volume):
    """Rows of air before the skin, for each (slice, column)."""
    inside = volume.array > -300
    return np.where(inside.any(axis=1), inside.argmax(axis=1), -1)


@pytest.mark.parametrize("turn", [(1, 1, 1), (-1, 1, -1), (1, -1, -1)])
def test_a_face_is_removed_whatever_the_orientation(head, turn):
    from synthct.data.volume import Grid

    steps = tuple(slice(None, None, sign) for sign in turn)
    start = [0 if sign > 0 else size - 1 for sign, size in zip(turn, head.array.shape, strict=True)]
    rows = tuple(tuple(float(s) * (i == j) for j, s in enumerate(turn)) for i in range(3))
    grid = Grid(head.grid.shape, head.grid.spacing_mm,
                tuple(float(v) for v in head.grid.points(np.array(start))), rows)  # fmt: skip
    clean = defaced(Volume(head.array[steps], grid, Modality.CT))
    back = head.with_array(clean.array[steps])
    before, after = front(head), front(back)
    face = (before >= 0) & (before == np.where(before >= 0, before, 99).min(axis=1, keepdims=True))
    assert (after[face] - before[face]).min() * head.grid.spacing_mm[1] >= DEPTH_MM / 3
    rear = head.array.shape[1] // 2
    assert np.array_equal(back.array[:, rear:], head.array[:, rear:])


def test_a_defaced_series_keeps_its_places_and_the_rest_of_its_voxels(tmp_path, head):
    write_series(tmp_path / "pacs", head, patient_id="DOE", study="1", series_description="x",
                 uid_seed="d", attributes={"BodyPartExamined": "HEAD"})  # fmt: skip
    plan = plan_intake([tmp_path / "pacs"], "demo", tmp_path / "raw", deface=True)
    assert plan.rows[0].region == "head-neck"
    result = run_intake(plan)
    back = read_scan(tmp_path / "raw" / result.added[0])
    assert back.grid.is_close(head.grid, 1e-6)
    assert np.array_equal(back.array, defaced(read_scan(tmp_path / "pacs")).array)
    assert (back.array != head.array).mean() > 0.02
    header = pydicom.dcmread(tmp_path / "raw" / result.added[0] / "0000.dcm")
    assert "113102" in [item.CodeValue for item in header.DeidentificationMethodCodeSequence]


def test_a_folder_called_link_or_ome_zarr_blanks_our_own_words():
    secrets = {"link", "leads", "OME-Zarr", "OME", "Zarr", "scan", "complete"}
    rule = "an OME-Zarr image is complete and describes one scan"
    assert redact_values(rule, secrets) == rule
    problem = "a link leads outside the source"
    assert redact_values(problem, secrets) == problem


def test_a_patient_called_as_one_of_our_words_comes_through():
    assert (
        redact_values("Link.dcm cannot be opened by anyone", {"Link"})
        == "….dcm cannot be opened by anyone"
    )
    filled = "ValueError: no dicom in Link.zip"  # f"{type(error).__name__}: {error}" of the readers
    assert "Link" not in redact_values(filled, {"Link"})
    assert "1.2.840" not in redact_values("ValueError: 1.2.840.113619.2.55", set())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.text(max_size=60), st.sampled_from(["Doe", "link", "Zarr"]))
def test_a_secret_in_a_value_comes_through(around, secret):
    text = f"ValueError: {around}{secret}{around}"
    assert secret.lower() not in redact_values(text, {secret}).lower()


def test_what_a_new_error_says_first_is_reported_and_hidden_too():
    fault = DataError("ValueError: Doe is odd", rule="a rule", code="x")
    assert redacted_message(fault, {"Doe"}) == "ValueError: … is odd; a rule"
    assert redacted_message(fault, {"Doe"}, values=False) == "a rule"
