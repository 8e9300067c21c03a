"""File names that are not UTF-8 (old shares, other systems) cost no computed result."""

from __future__ import annotations

import json
import os
import time

import pytest

from synthct.data.errors import UsageError
from synthct.data.files import canonical_json, content_hash, write_whole
from synthct.data.readers import read_scan
from synthct.data.volume import Modality
from synthct.data.writers import write_image
from synthct.data.writers.dicom import write_series
from synthct.flows.cli.app import command_line
from synthct.tasks.evaluation.files import evaluate_files
from synthct.tasks.prediction.options import PredictOptions
from synthct.tasks.prediction.predict import predict_file
from synthct.tasks.registration.rigid.initial import read_initial

OPTIONS = PredictOptions(tta=False, threads=1)
NAME = os.fsdecode(b"M\xfcller")  # Latin-1: no UTF-8


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / NAME
    try:
        made.mkdir()
    except OSError:
        pytest.skip("this file system keeps UTF-8 names only")
    return made


@pytest.fixture
def series(folder, patient, tmp_path):
    write_series(tmp_path / "s", patient, patient_id="P1", study="s", series_description="T1",
                 uid_seed="x")  # fmt: skip
    for file in sorted((tmp_path / "s").iterdir())[::3]:
        file.rename(file.with_name(NAME + file.name))
    (tmp_path / "s").rename(folder / NAME)
    return folder / NAME


def test_a_series_is_predicted_as_if_its_names_were_plain(release, series, tmp_path):
    result = predict_file(
        release, series, tmp_path / "sct", dicom_reference=series, options=OPTIONS
    )
    assert result["voxels_not_predicted"] == 0
    assert read_scan(tmp_path / "sct").modality is Modality.CT


@pytest.mark.parametrize("ending", [".mha", ".nii.gz", ".nrrd"])
def test_results_are_written_under_such_names(release, patient, folder, ending):
    """ITK ended the whole process here, in C++."""
    scan, out = folder / f"{NAME}{ending}", folder / f"{NAME}-sct{ending}"
    write_image(scan, patient)
    result = predict_file(release, scan, out, options=OPTIONS)
    assert json.loads(canonical_json(result))["out"] == str(out)
    assert read_scan(out, Modality.CT).grid.is_close(patient.grid, 1e-2)
    document = evaluate_files(out, out, metrics=("mae_hu",), json_file=folder / f"{NAME}.json")
    assert document["scores"]["mae_hu"] == 0
    told = json.loads((folder / f"{NAME}.json").read_text())
    assert told["prediction"]["name"] == out.name


@pytest.mark.slow
def test_the_watch_continues_for_all_other_scans(release, patient, tmp_path, folder, capsys):
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    for number, name in enumerate((f"{NAME}.mha", f"{NAME}.broken.mha", "plain.mha")):
        write_image(inbox / name, patient.with_array(patient.array + number))
    (inbox / f"{NAME}.broken.mha").write_bytes(b"no image")
    for file in inbox.iterdir():
        os.utime(file, (time.time() - 60,) * 2)
    time.sleep(0.2)
    code = command_line(
        ["watch", "--model", str(release), "--inbox", str(inbox), "--out", str(tmp_path / "out"),
         "--once", "--plain", "--settle", "0.1", "--no-tta", "--threads", "1"]
    )  # fmt: skip
    assert code == 3  # one was set aside
    told = capsys.readouterr().out
    assert told.count(": done") == 2
    assert told.count(": quarantined") == 1


def test_the_content_hash_accepts_such_names_and_is_unchanged_for_plain_ones(tmp_path, folder):
    plain = tmp_path / "plain"
    write_whole(plain / "a" / "ü.txt", "x")
    known = "ac81503c"  # as of every version before
    first = content_hash(plain)
    assert first.startswith(known)
    (plain / "a" / "ü.txt").rename(plain / "a" / NAME)
    assert content_hash(plain) not in (first, content_hash(folder))


def test_a_transform_under_such_a_name_is_read(folder):
    import SimpleITK as sitk

    transform = sitk.Euler3DTransform()
    transform.SetTranslation((1.0, 2.0, 3.0))
    sitk.WriteTransform(transform, str(folder.parent / "t.tfm"))
    (folder.parent / "t.tfm").rename(folder / f"{NAME}.tfm")
    assert read_initial(folder / f"{NAME}.tfm").GetParameters() == transform.GetParameters()
    with pytest.raises(UsageError):
        read_initial(folder / "absent.tfm")
