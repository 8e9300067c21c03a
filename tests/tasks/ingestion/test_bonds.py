"""A CT and its source belong together by frame of reference, study and day, not by slices."""

from __future__ import annotations

import shutil

import numpy as np
import pydicom
import pytest
from pydicom.uid import generate_uid

from synthct.data.volume import Grid, Volume
from synthct.data.writers import write_image
from synthct.data.writers.dicom import write_series
from synthct.tasks.intake import plan_intake
from synthct.tasks.intake.identity import names_nobody
from synthct.tasks.intake.manifest import read_manifest, write_manifest
from tests.fixtures.radiotherapy import square, structure_set


@pytest.fixture(autouse=True)
def _key(monkeypatch):
    monkeypatch.setenv("SYNTHCT_PSEUDONYM_KEY", "a key of more than sixteen characters")


@pytest.fixture
def send(tmp_path):
    """Write a series with the UIDs and texts given; gives its folder below ``pacs``."""

    def write(name, volume, **about):
        folder = tmp_path / "pacs" / name
        patient = about.pop("PatientID", "ANONYMOUS")
        for file in write_series(folder, volume, patient_id=patient, study=name,
                                 series_description="s", uid_seed=name):  # fmt: skip
            dataset = pydicom.dcmread(file)
            dataset.PatientName = "ANONYMOUS" if patient == "ANONYMOUS" else "Doe"
            dataset.PatientBirthDate = ""
            for keyword, value in about.items():
                setattr(dataset, keyword, value)
            dataset.save_as(file)
        return folder

    return write


def plan_of(tmp_path, manifest=None):
    return plan_intake([tmp_path / "pacs"], "demo", tmp_path / "raw", manifest)


def pairs(plan):
    """Where the scans of each patient come from."""
    found = {}
    for row in plan.rows:
        if row.status != "refused":
            found.setdefault(row.patient, set()).add(plan.places[row.place].rpartition(" ")[2])
    return sorted(map(sorted, found.values()))


def longer(volume):
    array = np.concatenate([volume.array, volume.array[::-1] + 1])
    grid = volume.grid
    return Volume(array, Grid(array.shape, grid.spacing_mm, grid.origin_mm), volume.modality)


@pytest.mark.parametrize("tie", ["FrameOfReferenceUID", "StudyInstanceUID"])
def test_patients_who_are_all_anonymous_stay_apart(tmp_path, send, ct, mr, other_ct, other_mr, tie):
    for patient, scans in {"a": (ct, mr), "b": (other_ct, other_mr)}.items():
        uid = generate_uid()
        for kind, volume in zip(("x", "y"), scans, strict=True):
            send(f"{patient}{kind}", volume, **{tie: uid})
    assert pairs(plan_of(tmp_path)) == [["ax", "ay"], ["bx", "by"]]


@pytest.mark.parametrize(
    ("common", "own"),
    [
        (["StudyInstanceUID"], ["FrameOfReferenceUID"]),
        (["FrameOfReferenceUID"], ["StudyInstanceUID"]),
        (["StudyInstanceUID", "FrameOfReferenceUID"], ["StudyDate"]),
        (["StudyInstanceUID", "FrameOfReferenceUID"], []),
        (["StudyInstanceUID"], []),
    ],
)
def test_anonymous_patients_with_one_uid_for_all_are_not_merged(
    tmp_path, send, ct, mr, other_ct, other_mr, common, own
):
    """Below P1 and P2; where the UIDs or days set them apart, in folders of any name."""
    one = {keyword: generate_uid() for keyword in common}
    for number, scans in enumerate([(longer(ct), mr), (other_ct, longer(other_mr))], 1):
        apart = {key: f"2020030{number}" if "Date" in key else generate_uid() for key in own}
        for kind, volume in zip(("ct", "mr"), scans, strict=True):
            name = f"{kind}-{number}" if own else f"P{number}/{kind}"
            send(name, volume, **one, **apart)
    plan = plan_of(tmp_path)
    assert {row.status for row in plan.rows} == {"refused"}
    assert {row.findings[0].code for row in plan.rows} == {"identity-unclear"}
    assert "several pairs" in plan.rows[0].findings[0].sentence


@pytest.mark.parametrize("zipped", [False, True], ids=["flat folders", "an archive each"])
def test_names_of_folders_and_archives_keep_anonymous_patients_apart(
    tmp_path, send, ct, mr, other_ct, other_mr, zipped
):
    """By the number of slices alone, P1's MR would be paired with P2's CT."""
    one = {"StudyInstanceUID": generate_uid(), "FrameOfReferenceUID": generate_uid()}
    for number, scans in enumerate([(ct, longer(mr)), (longer(other_ct), other_mr)], 1):
        for kind, volume in zip(("ct", "mr"), scans, strict=True):
            name = f"sent{number}/{kind}" if zipped else f"p{number}{kind}"
            send(name, volume, **one, StudyDate="20200301")
    if zipped:
        for folder in sorted((tmp_path / "pacs").iterdir()):
            shutil.make_archive(str(tmp_path / "pacs" / folder.name), "zip", folder)
            shutil.rmtree(folder)
    plan = plan_of(tmp_path)
    assert {row.status for row in plan.rows} == {"refused"}
    assert {row.findings[0].code for row in plan.rows} == {"identity-unclear"}


def test_folders_bind_anonymous_series_that_no_uid_binds(tmp_path, send, ct, mr, other_ct):
    for patient, volume in {"P1": ct, "P2": other_ct}.items():
        send(f"{patient}/ct", volume)
    send("P1/mr", mr)
    assert pairs(plan_of(tmp_path)) == [["P1/ct", "P1/mr"], ["P2/ct"]]


def test_anonymous_scans_that_nothing_binds_are_refused_until_a_manifest_says_whose(
    tmp_path, send, ct, mr
):
    send("c7", ct)
    send("m9", mr)
    plan = plan_of(tmp_path)
    assert {row.findings[0].code for row in plan.rows} == {"identity-unclear"}
    assert {row.status for row in plan.rows} == {"refused"}
    write_manifest(tmp_path / "m.csv", plan.to_fill_in)
    text = (tmp_path / "m.csv").read_text()
    assert text.count(",,") >= 2
    (tmp_path / "m.csv").write_text(
        text.replace(",,", ",Jane Doe,", 1).replace("m9,,", "m9,Jane Doe,")
    )
    assert {row.patient for row in read_manifest(tmp_path / "m.csv").values()} == {"Jane Doe"}
    assert pairs(plan_of(tmp_path, tmp_path / "m.csv")) == [["c7", "m9"]]


@pytest.mark.parametrize("tie", ["FrameOfReferenceUID", "StudyInstanceUID", "StudyDate"])
def test_a_longer_diagnostic_ct_does_not_beat_the_one_that_belongs_to_the_mr(
    tmp_path, send, ct, mr, tie
):
    shared = "20200307" if tie == "StudyDate" else generate_uid()
    other = {"StudyDate": "20191224"} if tie == "StudyDate" else {}
    send("planning", ct, PatientID="DOE", **{tie: shared})
    send("mr", mr, PatientID="DOE", **{tie: shared})
    send("diagnostic", longer(ct), PatientID="DOE", **other)
    plan = plan_of(tmp_path)
    assert pairs(plan) == [["mr", "planning"]]
    (note,) = (note for note in plan.notes if "another scan than" in note)
    assert "shares the" in note


def test_among_several_mrs_the_one_in_the_cts_coordinates_is_taken(tmp_path, send, ct, mr):
    frame = generate_uid()
    send("ct", ct, PatientID="DOE", FrameOfReferenceUID=frame)
    send("mr", mr, PatientID="DOE", FrameOfReferenceUID=frame)
    send("late", longer(mr), PatientID="DOE")
    assert pairs(plan_of(tmp_path)) == [["ct", "mr"]]


def test_the_longer_ct_of_another_group_of_files_does_not_get_the_source_of_this_one(
    tmp_path, ct, mr, other_ct, other_mr
):
    """By the number of slices alone ``post/ct`` would be paired with ``pre/mr``."""
    for place, volume in {
        "P1/pre/ct": ct, "P1/pre/mr": longer(mr), "P1/post/ct": longer(ct), "P2/pre/ct": other_ct,
        "P2/pre/mr": other_mr,
    }.items():  # fmt: skip
        write_image(tmp_path / "pacs" / f"{place}.mha", volume)
    rows = [row for row in plan_of(tmp_path).rows if row.status != "refused"]
    assert sorted(row.size[2] for row in rows) == [14, 14, 16, 32]  # the CT of 16: pre


def test_anonymous_structures_go_to_the_series_that_they_name_whatever_their_study(
    tmp_path, send, ct, mr
):
    frame = generate_uid()
    for name, volume in {"ct": ct, "mr": mr}.items():
        folder = send(name, volume, FrameOfReferenceUID=frame)
    header = pydicom.dcmread(next((folder.parent / "ct").glob("*.dcm")), stop_before_pixels=True)
    structure_set(tmp_path / "pacs" / "rt" / "RS.dcm", {"Heart": [square(-11.5, 11.5, -10.0)]},
                  PatientID="ANONYMOUS", series=str(header.SeriesInstanceUID),
                  frame=frame)  # fmt: skip
    plan = plan_of(tmp_path)
    assert {row.scan: row.status for row in plan.rows} == {
        "ct": "new", "mr": "new", "structures-ct": "new",
    }  # fmt: skip
    assert len({row.patient for row in plan.rows}) == 1


@pytest.mark.parametrize(
    ("text", "nobody"),
    [("ANONYMOUS", True), ("anonymized", True), ("Anon^Patient", True), ("000000", True),
     ("", True), ("xxx", True), ("N/A", True), ("REMOVED", True), ("ANON-0012", False),
     ("4711", False), ("Doe", False), ("Test7", False)],
)  # fmt: skip
def test_placeholders_are_distinguished_from_numbers(text, nobody):
    assert names_nobody(text) is nobody
