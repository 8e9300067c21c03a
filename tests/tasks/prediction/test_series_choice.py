"""`predict` and `evaluate` take the one volume of a folder, and the series that is named."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
from pydicom.uid import generate_uid

from synthct.data.errors import DataError
from synthct.data.readers import read_scan
from synthct.data.volume import Modality
from synthct.data.writers.dicom import write_series
from synthct.tasks.evaluation.attachments import Attachments
from synthct.tasks.evaluation.files import evaluate_files
from synthct.tasks.prediction.predict import PredictOptions, predict_file

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


def test_of_two_series_the_named_one_is_predicted(release, dicom, patient, tmp_path):
    other = patient.with_array(np.ascontiguousarray(patient.array[::-1]))
    for file in write_series(tmp_path / "more", other, patient_id="P", study="1",
                             series_description="t2", uid_seed="u"):  # fmt: skip
        file.rename(dicom / f"t2-{file.name}")
    with pytest.raises(DataError, match="--series"):
        predict_file(release, dicom, tmp_path / "no.mha", options=OPTIONS)
    for name in ("t1", "t2"):
        predict_file(release, dicom, tmp_path / f"{name}.mha", series=name, options=OPTIONS)
    one, two = (read_scan(tmp_path / f"{n}.mha", Modality.CT).array for n in ("t1", "t2"))
    assert np.abs(one - two[::-1]).max() <= 1
    assert np.abs(one - two).max() > 1


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
