"""Two patients never become one, whatever their files are called and wherever they lie."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthct.data.readers.synthrad import case_folders, channel_names
from synthct.data.volume import Modality
from synthct.tasks.intake.layout import (
    MIXED,
    NAMELESS,
    NO_PARTNER,
    TWO_GROUPS,
    TWO_PLACES,
    named_files,
    perhaps_visits,
)
from synthct.tasks.intake.words import words_of

ROOT = Path("/x/trial")


def named(*files, root=ROOT, channels=None):
    """Whose each file is: the name, or the reason why it is not known."""
    found = named_files({root / file: root for file in files}, channels or {})
    return {str(path.relative_to(root)): one for path, one in found.items()}


def whose(*files, **options):
    return {file: one.patient or one.unclear for file, one in named(*files, **options).items()}


TWO = [("P1", "ct"), ("P1", "mr"), ("P2", "ct"), ("P2", "mr")]

LAYOUTS = {
    "a leaf folder": "{p}/nifti/{m}.nii.gz",
    "a leaf folder of another name": "{p}/xyz7/{m}.nii.gz",
    "flat": "{p}_{m}.nii.gz",
    "flat, modality first": "{m}_{p}.mha",
    "by modality": "{m}/{p}_{m}.nii.gz",
    "by modality, plain names": "{m}/{p}.nii.gz",
    "a folder for each": "{p}/{m}.mha",
    "a folder for each scan": "{p}/{m}/image.mha",
    "numbered": "{p}/{m}_1.nii.gz",
    "days": "{p}/2020-03-07/{m}.nii.gz",
    "BIDS": "sub-{p}/ses-1/anat/sub-{p}_ses-1_{m}.nii.gz",
}


@pytest.mark.parametrize("pattern", LAYOUTS.values(), ids=LAYOUTS)
def test_the_scans_of_two_patients_go_to_two(pattern):
    files = {pattern.format(p=p, m=m): (p, m) for p, m in TWO}
    found = named(*files)
    for file, (patient, modality) in files.items():
        assert found[file].patient in (patient, f"sub-{patient}")
        assert found[file].modality == Modality(modality.upper())


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(sorted(LAYOUTS.values())),
    st.lists(
        st.from_regex(r"[A-Z]{1,3}[0-9]{1,4}", fullmatch=True), min_size=2, max_size=5, unique=True
    ),
    st.sampled_from([("ct", "mr"), ("CT", "MR"), ("ct", "T1w"), ("CT", "cbct")]),
)
def test_no_two_names_ever_share_a_patient(pattern, names, kinds):
    names = [name for name in names if words_of(name).modality is None]
    files = {pattern.format(p=p, m=m): p for p in names for m in kinds}
    found = named(*files)
    patients = {}
    for file, one in found.items():
        if one.patient:
            patients.setdefault(one.patient, set()).add(files[file])
    assert all(len(people) == 1 for people in patients.values())


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        (["case001_mr.nii.gz", "case002_ct.nii.gz"], NO_PARTNER),
        (["CT/case001.nii.gz", "MR/case002.nii.gz"], NO_PARTNER),
        (["P1/scan1/ct.mha", "P1/scan2/mr.mha"], NO_PARTNER),
        (["A/P1/ct.mha", "A/P1/mr.mha", "B/P1/ct.mha", "B/P1/mr.mha", "B/P2/ct.mha"], TWO_PLACES),
        (["train/CT/1.mha", "train/MR/1.mha", "test/CT/1.mha", "test/MR/1.mha"], TWO_PLACES),
        (["ct.mha", "case001_mr.mha", "case002_mr.mha"], MIXED),
        (["GE/ct.mha", "GE/mr.mha", "SE/ct.mha", "SE/mr.mha"], TWO_GROUPS),
        (["pre/ct.mha", "pre/mr.mha", "post/ct.mha", "post/mr.mha"], TWO_GROUPS),
        (["ct/GE/a.mha", "mr/GE/a.mha", "ct/SE/a.mha", "mr/SE/a.mha"], TWO_GROUPS),
        (["GE_ct.mha", "GE_mr.mha", "SE_ct.mha", "SE_mr.mha"], TWO_GROUPS),
        (["T1/ct.mha", "T1/mr.mha", "T2/ct.mha", "T2/mr.mha"], TWO_GROUPS),
    ],
)
def test_what_no_name_decides_is_nobodys(files, reason):
    told = whose(*files)
    assert [told[file] for file in files[:2]] == [reason] * 2


def test_scans_of_one_patient_in_two_groups_stay_in_their_groups():
    """A name in the source that distinguishes patients is believed; the group binds the pairs."""
    files = {f"{p}/{g}/{m}.mha": (p, g) for p, m in TWO for g in ("pre", "post")}
    for file, one in named(*files).items():
        patient, group = files[file]
        assert (one.patient, one.group) == (patient, f"{patient.lower()}/{group}")


def test_folders_of_one_name_below_each_modality_are_no_second_place_of_a_patient():
    files = [f"{p}/{m}_scan1/abc.mha" for p, m in TWO]
    assert whose(*files) == {file: file[:2] for file in files}


def test_folders_named_for_nothing_name_no_patient():
    assert whose("ct.mha", "mr.mha", root=Path("/scans/data")) == dict.fromkeys(
        ("ct.mha", "mr.mha"), NAMELESS
    )


def test_one_unpaired_scan_among_pairs_is_only_incomplete():
    told = whose("c1_ct.mha", "c1_mr.mha", "c2_ct.mha", "c3_mr.mha")
    assert set(told.values()) == {"c1", "c2", "c3"}


def test_visits_of_one_patient_are_not_two_patients():
    """Else one person would be in training and in the test."""
    for visit in ("v", "TP", "week", "baseline", "fu"):
        files = [
            f"P{p}_{visit}{v}_{m}.nii.gz" for p in (1, 2) for v in (1, 2) for m in ("ct", "mr")
        ]
        for file, one in named(*files).items():
            assert (one.patient, one.day) == (file[:2], f"{visit.lower()}{file[3 + len(visit)]}")


@pytest.mark.parametrize(
    ("files", "questions"),
    [
        (["P1_ct_1.mha", "P1_mr_1.mha", "P1_ct_2.mha", "P1_mr_2.mha", "P2_ct.mha"], [2]),
        (["P1/P1_E1/ct/a.mha", "P1/P1_E1/mr/a.mha", "P1/P1_E2/ct/a.mha", "P1/P1_E2/mr/a.mha"], [2]),
        (["case_01_ct.mha", "case_01_mr.mha", "case_02_ct.mha", "case_02_mr.mha"], []),
        (["hospital1_001_ct.mha", "hospital1_001_mr.mha", "hospital1_002_ct.mha"], []),
    ],
)
def test_names_that_may_be_visits_of_one_patient_are_asked_about(files, questions):
    found = named_files({ROOT / file: ROOT for file in files}, {})
    assert [len(paths) for paths in perhaps_visits(found)] == questions


def test_a_source_below_the_patients_folder_still_knows_the_patient():
    for patient in ("P1", "P2"):
        root = Path(f"/x/{patient}/nifti")
        assert set(whose("ct.mha", "mr.mha", root=root).values()) == {patient}


def test_layouts_are_called_by_their_names():
    told = {
        file: one.layout
        for file, one in named("sub-1/anat/sub-1_T1w.nii.gz", "sub-1/ct/sub-1_ct.nii.gz").items()
    }
    assert set(told.values()) == {"BIDS"}
    assert named("c1_ct.mha")["c1_ct.mha"].layout.startswith("one flat folder")
    assert named("CT/c1.mha")["CT/c1.mha"].layout == "a folder for each modality"


def test_derivatives_of_bids_do_not_stand_for_the_scans():
    found = named("sub-1/ct/sub-1_ct.nii.gz", "derivatives/reg/sub-1/sub-1_ct.nii.gz")
    assert [one.derived for one in found.values()] == [False, True]
    assert found["sub-1/ct/sub-1_ct.nii.gz"].patient == "sub-1"


def test_channels_of_nnunet_are_what_its_dataset_says(tmp_path):
    file = tmp_path / "dataset.json"
    file.write_text(json.dumps({"channel_names": {"0": "T1", "1": "CT"}}))
    found = named(
        "imagesTr/c_1_0000.nii.gz", "imagesTr/c_1_0001.nii.gz", "labelsTr/c_1.nii.gz",
        root=tmp_path, channels={tmp_path: channel_names(str(file))},
    )  # fmt: skip
    assert [(one.patient, str(one.modality), one.mask) for one in found.values()] == [
        ("c_1", "MR", False), ("c_1", "CT", False), ("c_1", "None", True),
    ]  # fmt: skip
    assert found["imagesTr/c_1_0000.nii.gz"].layout == "nnU-Net"


@pytest.mark.parametrize("text", ["", "[]", '{"channel_names": []}', "{" * 100_000, "\0"])
def test_a_dataset_json_that_says_nothing_says_nothing(tmp_path, text):
    (tmp_path / "dataset.json").write_text(text)
    assert channel_names(str(tmp_path / "dataset.json")) == {}


def test_files_in_capitals_are_a_case_too(tmp_path):
    for name in ("CT.mha", "CBCT.mha", "Mask.MHA"):
        (tmp_path / "P1").mkdir(exist_ok=True)
        (tmp_path / "P1" / name).touch()
    (case,) = case_folders(tmp_path)
    assert set(case.scans) == {"ct", "cbct"}
    assert case.mask is not None
    assert named("P1/CT.mha", "P1/CBCT.mha")["P1/CBCT.mha"].modality is Modality.CBCT


@pytest.mark.parametrize(
    ("name", "expected"),
    [("HN-01", "HN-01"), ("AB_01_mr", "AB_01"), ("Patient_001", "Patient_001"),
     ("Müller_CT", "Müller"), ("TP1_ct", "TP1"),
     ("ct001", "001"), ("p1ct", "p1"), ("t1mr", ""), ("img001", "img001"), ("nifti", ""),
     ("20200101", ""),
     ("P1_visit_2_ct", "P1"), ("P1_v1_ct", "P1"), ("007-baseline_mr", "007"), ("v01_ct", "v01"),
     ("brain_v01_ct", "brain_v01"), ("ct_P1_20210112093011", "P1")],
)  # fmt: skip
def test_words_of_the_trade_are_taken_away_and_numbers_of_cases_stay(name, expected):
    assert words_of(name).patient == expected
