"""Contours go only where they were drawn, and strangers' files are parsed in the reader alone."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, RTStructureSetStorage

import synthct.data.readers
from synthct.data.errors import UsageError
from synthct.data.writers.dicom import write_series
from synthct.tasks.prediction.options import PredictOptions
from synthct.tasks.prediction.predict import predict_file

ROOT = Path(__file__).resolve().parents[3]
OPTIONS = PredictOptions(tta=False, threads=1)
HERE, ELSEWHERE = "1.2.840.1.10", "1.2.840.1.20"
"""Frames of reference of the MR that is predicted, and of another scan."""


@pytest.fixture
def dicom(tmp_path, patient):
    write_series(
        tmp_path / "dicom", patient, patient_id="P1", study="study", series_description="T1",
        attributes={"FrameOfReferenceUID": HERE}, uid_seed="hospital",
    )  # fmt: skip
    return tmp_path / "dicom"


def item(**elements):
    made = Dataset()
    for keyword, value in elements.items():
        setattr(made, keyword, value)
    return made


def listed(frame, images):
    """One entry of the Referenced Frame of Reference Sequence."""
    series = item(
        SeriesInstanceUID=f"{frame}.7",
        ContourImageSequence=[
            item(ReferencedSOPClassUID="1.2.840.10008.5.1.4.1.1.4", ReferencedSOPInstanceUID=uid)
            for uid in images
        ],
    )
    study = item(RTReferencedSeriesSequence=[series], ReferencedSOPInstanceUID=f"{frame}.8")
    return item(FrameOfReferenceUID=frame, RTReferencedStudySequence=[study])


def structure_set(path, rois, *, frames=((HERE, ()), (ELSEWHERE, ()))):
    """``rois``: (number, name, frame or None, SOP instance of the contour's image or None)."""
    made = item(SOPClassUID=RTStructureSetStorage, SOPInstanceUID="1.2.840.99.1",
                SeriesInstanceUID="1.2.840.99.2", StudyInstanceUID="1.2.840.99.3",
                Modality="RTSTRUCT", StructureSetLabel="plan",
                SpecificCharacterSet="ISO_IR 100")  # fmt: skip
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.file_meta.MediaStorageSOPClassUID = RTStructureSetStorage
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    made.ReferencedFrameOfReferenceSequence = [listed(*one) for one in frames]
    made.StructureSetROISequence, made.ROIContourSequence = [], []
    made.RTROIObservationsSequence = []
    for number, name, frame, image in rois:
        roi = item(ROINumber=number, ROIName=name, ROIGenerationAlgorithm="MANUAL",
                   ROIVolume="123.4567890123")  # fmt: skip
        if frame is not None:
            roi.ReferencedFrameOfReferenceUID = frame
        block = roi.private_block(0x3005, "VENDOR", create=True)
        block.add_new(0x01, "LO", "drawn by Dr Secret")
        made.StructureSetROISequence.append(roi)
        contour = item(ContourGeometricType="CLOSED_PLANAR", NumberOfContourPoints=3,
                       ContourData=[0, -10, 57, 10, -10.125, 57, 10, 5.25, 57])  # fmt: skip
        if image is not None:
            contour.ContourImageSequence = [
                item(ReferencedSOPClassUID="1.2.840.10008.5.1.4.1.1.4",
                     ReferencedSOPInstanceUID=image)
            ]  # fmt: skip
        made.ROIContourSequence.append(
            item(
                ReferencedROINumber=number,
                ROIDisplayColor=[255, 0, number],
                ContourSequence=[contour],
            )
        )
        made.RTROIObservationsSequence.append(
            item(
                ObservationNumber=number,
                ReferencedROINumber=number,
                RTROIInterpretedType="ORGAN",
                ROIInterpreter="Secret^Doctor",
            )
        )
    made.save_as(path, enforce_file_format=True)
    return path


def carried(tmp_path, release, dicom):
    result = predict_file(release, dicom, tmp_path / "sct", dicom_reference=dicom, options=OPTIONS)
    made = sorted((tmp_path / "sct").glob("structures-*.dcm"))
    return result, [pydicom.dcmread(path) for path in made]


def test_each_structure_goes_to_the_scan_of_its_own_frame_only(release, dicom, tmp_path):
    """All were relabelled to the MR's frame, coordinates unchanged: wrong contours exported."""
    rois = [(1, "Rückenmark", HERE, None), (4, "Herz", ELSEWHERE, None), (7, "GTV", HERE, None)]
    structure_set(dicom / "set.dcm", rois)
    result, (made,) = carried(tmp_path, release, dicom)
    names = [str(roi.ROIName) for roi in made.StructureSetROISequence]
    assert names == ["Rückenmark", "GTV"]
    assert [int(roi.ReferencedROINumber) for roi in made.ROIContourSequence] == [1, 7]
    assert [int(one.ReferencedROINumber) for one in made.RTROIObservationsSequence] == [1, 7]
    assert ELSEWHERE not in str(made)
    assert any("1 of 3 structures are left out (ROI number 4)" in n for n in result["notes"])
    assert not any("Herz" in note for note in result["notes"])


def test_what_a_structure_is_survives_and_who_drew_it_does_not(release, dicom, tmp_path):
    structure_set(dicom / "set.dcm", [(3, "Liver", HERE, None)])
    result, (made,) = carried(tmp_path, release, dicom)
    roi, drawn = made.StructureSetROISequence[0], made.ROIContourSequence[0]
    assert float(roi.ROIVolume) == pytest.approx(123.4567890123)
    assert list(drawn.ROIDisplayColor) == [255, 0, 3]
    np.testing.assert_array_equal(
        np.asarray(drawn.ContourSequence[0].ContourData, float),
        [0, -10, 57, 10, -10.125, 57, 10, 5.25, 57],
    )
    assert made.RTROIObservationsSequence[0].RTROIInterpretedType == "ORGAN"
    assert "Secret" not in str(made)
    assert not any("left out" in note for note in result["notes"])


def test_images_decide_where_a_structure_does_not_name_its_frame(release, dicom, tmp_path):
    frames = ((HERE, ("1.5.1",)), (ELSEWHERE, ("1.5.2",)))
    rois = [(1, "ours", None, "1.5.1"), (2, "theirs", None, "1.5.2"), (3, "unknown", None, None)]
    structure_set(dicom / "set.dcm", rois, frames=frames)
    result, (made,) = carried(tmp_path, release, dicom)
    assert [str(roi.ROIName) for roi in made.StructureSetROISequence] == ["ours"]
    assert any("2 of 3 structures are left out (ROI number 2, 3)" in n for n in result["notes"])


def test_a_structure_whose_frame_and_images_contradict_is_left_out(release, dicom, tmp_path):
    frames = ((HERE, ("1.5.1",)), (ELSEWHERE, ("1.5.2",)))
    rois = [(1, "ours", HERE, "1.5.1"), (2, "torn", HERE, "1.5.2")]
    structure_set(dicom / "set.dcm", rois, frames=frames)
    _, (made,) = carried(tmp_path, release, dicom)
    assert [str(roi.ROIName) for roi in made.StructureSetROISequence] == ["ours"]


def test_a_given_structure_set_without_structures_in_the_frame_is_refused(release, dicom, tmp_path):
    strange = structure_set(tmp_path / "set.dcm", [(1, "Heart", ELSEWHERE, None)])
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
    assert "none of its structures is drawn in that frame of reference" in str(caught.value)


def test_no_stranger_s_dicom_is_parsed_outside_the_reader(release, dicom, tmp_path, monkeypatch):
    """A hostile reference or structure set could take memory, time or files from the caller."""
    given = structure_set(tmp_path / "set.dcm", [(1, "GTV", HERE, None)])
    structure_set(dicom / "plan.dcm", [(1, "GTV", HERE, None)])

    def refuse(*args, **kwargs):
        raise AssertionError("DICOM is parsed in the caller's process")

    monkeypatch.setattr(pydicom, "dcmread", refuse)
    monkeypatch.setattr(pydicom.filereader, "dcmread", refuse)
    monkeypatch.setattr(pydicom.filereader, "read_partial", refuse)
    for number, structures in enumerate((None, given)):
        result = predict_file(
            release, dicom, tmp_path / f"sct{number}", dicom_reference=dicom,
            structures=structures, options=OPTIONS,
        )  # fmt: skip
        assert result["structures"] == 1


def test_the_headers_of_the_reference_are_read_once(release, dicom, tmp_path, monkeypatch):
    asked = []
    ask = synthct.data.readers.call

    def counted(function, **arguments):
        if arguments["path"] == str(tmp_path / "reference"):
            asked.append(function.__name__)
        return ask(function, **arguments)

    (tmp_path / "reference").symlink_to(dicom)
    monkeypatch.setattr(synthct.data.readers, "call", counted)
    predict_file(
        release, dicom, tmp_path / "sct", dicom_reference=tmp_path / "reference", options=OPTIONS
    )
    assert asked == ["headers_and_sets"]


def test_prediction_reads_files_only_through_the_confined_reader():
    for file in sorted((ROOT / "tasks" / "prediction").glob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            names = [one.name for one in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            for name in names:
                assert name not in ("pydicom", "pydicom.filereader"), file.name
                assert not name.startswith("synthct.data.readers."), file.name
