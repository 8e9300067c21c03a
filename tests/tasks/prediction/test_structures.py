"""Contours of the source lie on the synthetic CT too: same points, new images, same patient."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, RTStructureSetStorage

from synthct.data.errors import UsageError
from synthct.data.writers.dicom import write_series
from synthct.tasks.prediction.options import PredictOptions
from synthct.tasks.prediction.predict import predict_file

OPTIONS = PredictOptions(tta=False, threads=1)
FRAME = "1.2.3.4"


@pytest.fixture
def dicom(tmp_path, patient):
    write_series(
        tmp_path / "dicom", patient, patient_id="Secret^Name", study="study",
        series_description="T1", attributes={"FrameOfReferenceUID": FRAME}, uid_seed="hospital",
    )  # fmt: skip
    return tmp_path / "dicom"


def contours(path, patient, *, frame=FRAME):
    """An RTSTRUCT as a planning system writes it: a square on slice 4, a line across slices."""
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID = RTStructureSetStorage
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID = "1.2.840.99.1"
    made.SeriesInstanceUID, made.StudyInstanceUID = "1.2.840.99.2", "1.2.840.99.3"
    made.Modality, made.PatientName, made.PatientID = "RTSTRUCT", "Other^Person", "OTHER"
    made.OperatorsName, made.StructureSetLabel = "Dr^Contour", "plan"
    frame_item, roi, drawn = Dataset(), Dataset(), Dataset()
    frame_item.FrameOfReferenceUID = frame
    made.ReferencedFrameOfReferenceSequence = [frame_item]
    roi.ROINumber, roi.ROIName, roi.ReferencedFrameOfReferenceUID = 1, "GTV", frame
    made.StructureSetROISequence = [roi]
    z = patient.grid.points(np.array([4, 0, 0]))[0]
    square, across, old = Dataset(), Dataset(), Dataset()
    old.ReferencedSOPClassUID, old.ReferencedSOPInstanceUID = "1.2.3", "1.2.840.99.77"
    square.ContourGeometricType, square.NumberOfContourPoints = "CLOSED_PLANAR", 4
    square.ContourData = [0.5, -10, z, 10, -10, z, 10, 5.25, z, 0.5, 5.25, z]
    square.ContourImageSequence = [old]
    across.ContourGeometricType, across.NumberOfContourPoints = "OPEN_NONPLANAR", 2
    across.ContourData = [0, 0, z, 0, 0, z + 30]
    across.ContourImageSequence = [old]
    drawn.ReferencedROINumber, drawn.ContourSequence = 1, [square, across]
    made.ROIContourSequence = [drawn]
    path.parent.mkdir(parents=True, exist_ok=True)
    made.save_as(path, enforce_file_format=True)
    return path


def test_contours_keep_their_points_and_name_the_new_images(release, dicom, patient, tmp_path):
    contours(dicom / "plan.dcm", patient)
    result = predict_file(release, dicom, tmp_path / "sct", dicom_reference=dicom, options=OPTIONS)
    assert result["structures"] == 1
    made = pydicom.dcmread(tmp_path / "sct" / "structures-0.dcm")
    images = {
        str(image.SOPInstanceUID): image
        for image in map(pydicom.dcmread, sorted((tmp_path / "sct").glob("*.dcm")))
        if image.Modality == "CT"
    }
    square, across = made.ROIContourSequence[0].ContourSequence
    z = patient.grid.points(np.array([4, 0, 0]))[0]
    expected = [0.5, -10, z, 10, -10, z, 10, 5.25, z, 0.5, 5.25, z]
    np.testing.assert_allclose(np.asarray(square.ContourData, float), expected, atol=1e-6)
    (named,) = square.ContourImageSequence
    on_slice = images[str(named.ReferencedSOPInstanceUID)]
    assert float(on_slice.ImagePositionPatient[2]) == pytest.approx(z)
    assert "ContourImageSequence" not in across  # it lies on no single image
    assert made.StructureSetROISequence[0].ROIName == "GTV"
    frame = made.ReferencedFrameOfReferenceSequence[0]
    assert frame.FrameOfReferenceUID == FRAME
    series = frame.RTReferencedStudySequence[0].RTReferencedSeriesSequence[0]
    listed = {str(item.ReferencedSOPInstanceUID) for item in series.ContourImageSequence}
    assert listed == set(images)
    assert "1.2.840.99.77" not in str(made)  # no old image is named any more


def test_the_patient_of_contours_is_the_references_and_who_drew_them_stays_behind(
    release, dicom, patient, tmp_path
):
    contours(dicom / "plan.dcm", patient)
    predict_file(release, dicom, tmp_path / "sct", dicom_reference=dicom, options=OPTIONS)
    made = pydicom.dcmread(tmp_path / "sct" / "structures-0.dcm")
    source = pydicom.dcmread(next(p for p in sorted(dicom.iterdir()) if p.name != "plan.dcm"))
    assert (made.PatientID, made.StudyInstanceUID) == (source.PatientID, source.StudyInstanceUID)
    assert made.SOPInstanceUID != "1.2.840.99.1"
    assert made.ApprovalStatus == "UNAPPROVED"
    for stranger in ("Other^Person", "OTHER", "Dr^Contour"):
        assert stranger not in str(made)


def test_contours_of_another_frame_are_left_and_asked_for_by_name_are_refused(
    release, dicom, patient, tmp_path
):
    strange = contours(tmp_path / "elsewhere" / "plan.dcm", patient, frame="9.9.9")
    shared = contours(dicom / "plan.dcm", patient, frame="9.9.9")
    result = predict_file(release, dicom, tmp_path / "sct", dicom_reference=dicom, options=OPTIONS)
    assert result["structures"] == 0
    assert shared.is_file()
    with pytest.raises(UsageError) as caught:
        predict_file(
            release,
            dicom,
            tmp_path / "no",
            dicom_reference=dicom,
            structures=strange,
            options=OPTIONS,
        )
    assert caught.value.code == "no-structures"
    with pytest.raises(UsageError) as caught:
        predict_file(release, dicom, tmp_path / "no", structures=strange, options=OPTIONS)
    assert caught.value.code == "structures-without-reference"
    assert not (tmp_path / "no").exists()
