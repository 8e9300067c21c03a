"""`predict` and `evaluate` take the one volume of a folder, and the series that is named."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import numpy as np
import pydicom
import pytest
from pydicom.uid import generate_uid

from synthct.data.errors import DataError
from synthct.data.readers import read_scan
from synthct.data.volume import Modality
from synthct.data.writers import write_image
from synthct.data.writers.dicom import write_series
from synthct.tasks.evaluation.attachments import Attachments
from synthct.tasks.evaluation.files import evaluate_files
from synthct.tasks.prediction.batch import BatchSettings, predict_waiting
from synthct.tasks.prediction.inbox import FolderInbox
from synthct.tasks.prediction.options import PredictOptions
from synthct.tasks.prediction.outbox import Outbox
from synthct.tasks.prediction.predict import predict_file
from tests.data.wild_images import write_zarr

OPTIONS = PredictOptions(tta=False, threads=1)


@pytest.fixture
def dicom(tmp_path, patient):
    """The small patient's MR with a localizer and a dose report in its folder."""
    files = write_series(tmp_path / "scan", patient, patient_id="P", study="1",
                         series_description="t1", uid_seed="t")  # fmt: skip
    kinds = {"localizer": ("LOCALIZER", ""), "report": ("SCREEN SAVE", "1.2.840.10008.5.1.4.1.1.7")}
    for name, (kind, sop_class) in kinds.items():
        dataset = pydicom.dcmread(files[0])
        dataset.ImageType = ["DERIVED", "SECONDARY", kind]
        dataset.SOPClassUID = sop_class or dataset.SOPClassUID
        dataset.SeriesInstanceUID, dataset.SOPInstanceUID = generate_uid(), generate_uid()
        dataset.save_as(tmp_path / "scan" / f"a-{name}.dcm")
    return tmp_path / "scan"


def test_a_localizer_and_a_report_beside_the_scan_stop_no_prediction(
    release, dicom, patient, tmp_path
):
    predict_file(release, dicom, tmp_path / "sct", dicom_reference=dicom, options=OPTIONS)
    predict_file(release, dicom, tmp_path / "sct.mha", options=OPTIONS)
    made = read_scan(tmp_path / "sct.mha", Modality.CT)
    assert made.grid.is_close(patient.grid, 1e-3)
    assert np.array_equal(read_scan(tmp_path / "sct").array, made.array)


def test_a_scout_with_the_uid_of_the_scan_is_left_out_with_a_note(release, dicom, tmp_path):
    one = pydicom.dcmread(sorted(dicom.glob("[0-9]*.dcm"))[0])
    one.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    one.ImageOrientationPatient = ["0", "1", "0", "0", "0", "-1"]
    one.save_as(dicom / "zz.dcm")
    told = predict_file(release, dicom, tmp_path / "sct.mha", options=OPTIONS)
    assert any("1 image with the UID of the series" in note for note in told["notes"])
    assert told["voxels_not_predicted"] == 0


@pytest.mark.parametrize("form", ["mha", "zarr", "two files"])
def test_a_watched_folder_of_one_image_is_that_image(release, patient, tmp_path, form):
    inbox = tmp_path / "in"
    (inbox / "case").mkdir(parents=True)
    if form == "zarr":
        values = np.rint(patient.array).astype(np.int16)
        write_zarr(inbox / "case" / "mr.zarr", patient.grid, values, chunks=(4, 16, 16))
    else:
        write_image(inbox / "case" / "mr.mha", patient)
    if form == "two files":
        write_image(inbox / "case" / "other.nii.gz", patient)
    place, outbox = FolderInbox(inbox, settle_s=0.1), Outbox(tmp_path / "out")
    place.arrivals()
    time.sleep(0.2)
    settings = BatchSettings(release, options={"tta": False, "threads": 1})
    (result,) = predict_waiting(place, outbox, settings)
    assert result.status == ("quarantined" if form == "two files" else "done")
    if form == "two files":
        (told,) = outbox.reports()
        assert "2 image files" in told["problem"]
        assert "mr.mha" not in json.dumps(told)  # it may name the patient


@pytest.fixture
def two(dicom, patient, tmp_path):
    """A second series, t2, in the folder: the slices of the first upside down."""
    other = patient.with_array(np.ascontiguousarray(patient.array[::-1]))
    for file in write_series(tmp_path / "more", other, patient_id="P", study="1",
                             series_description="t2", uid_seed="u"):  # fmt: skip
        file.rename(dicom / f"t2-{file.name}")
    return dicom


def test_of_two_series_the_named_one_is_predicted(release, two, tmp_path):
    with pytest.raises(DataError, match="--series"):
        predict_file(release, two, tmp_path / "no.mha", options=OPTIONS)
    for name in ("t1", "t2"):
        predict_file(release, two, tmp_path / f"{name}.mha", series=name, options=OPTIONS)
    one, two_ = (read_scan(tmp_path / f"{n}.mha", Modality.CT).array for n in ("t1", "t2"))
    assert np.abs(one - two_[::-1]).max() <= 1
    assert np.abs(one - two_).max() > 1


def test_two_results_of_one_folder_overwrite_each_other_in_an_archive(release, two, tmp_path):
    """By their UIDs: every series and every way to predict it is a result of its own."""
    ways = [("t1", OPTIONS), ("t2", OPTIONS), ("t2", replace(OPTIONS, tta=True))]
    uids = set()
    for number, (name, options) in enumerate([*ways, ways[0]]):
        out = tmp_path / str(number)
        predict_file(release, two, out, series=name, dicom_reference=two, options=options)
        uids.add(pydicom.dcmread(next(out.iterdir())).SeriesInstanceUID)
    assert len(uids) == len(ways)


@pytest.mark.slow
def test_a_watched_folder_of_two_series_is_stuck(release, two, patient, tmp_path):
    inbox, alone = tmp_path / "in", tmp_path / "in" / "other"
    write_series(alone, patient, patient_id="Q", study="2", series_description="flair",
                 uid_seed="q")  # fmt: skip
    two.rename(inbox / "both")
    write_image(inbox / "file.mha", patient)
    place, outbox = FolderInbox(inbox, settle_s=0.1), Outbox(tmp_path / "out")
    place.arrivals()
    time.sleep(0.2)
    settings = BatchSettings(
        release, form="dicom", identified=True, options={"tta": False, "threads": 1}, series="t2"
    )
    statuses = [result.status for result in predict_waiting(place, outbox, settings)]
    assert sorted(statuses) == ["done", "done", "quarantined"]
    (told,) = (one for one in outbox.reports() if one["status"] == "quarantined")
    assert told["code"] == "no-series"
    predict_file(release, inbox / "both", tmp_path / "t2.mha", series="t2", options=OPTIONS)
    alone_hu = read_scan(tmp_path / "t2.mha", Modality.CT).array
    made = [read_scan(one / "sct").array for one in outbox.done.iterdir()]
    assert any(np.array_equal(one, alone_hu) for one in made)


def test_a_report_beside_the_reference_changes_no_score(release, dicom, patient, tmp_path):
    hu = patient.with_array(patient.array.astype(np.int16), Modality.CT)
    write_series(tmp_path / "ct", hu, patient_id="P", study="1", series_description="ct",
                 uid_seed="c")  # fmt: skip
    alone = evaluate_files(tmp_path / "ct", tmp_path / "ct")
    (dicom / "a-report.dcm").rename(tmp_path / "ct" / "a-report.dcm")
    extras = Attachments(reference_series="ct", source=dicom)
    document = evaluate_files(tmp_path / "ct", tmp_path / "ct", extras=extras)
    assert document["scores"] == alone["scores"]
    assert "source" in document
