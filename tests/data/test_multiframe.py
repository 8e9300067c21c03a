"""Enhanced multi-frame CT and MR read like the classic series of the same scan."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, RLELossless, generate_uid

from synthct.data.errors import DataError
from synthct.data.readers import describe, find, read_scan
from synthct.data.volume import Modality, Volume
from tests.fixtures.outcomes import DICOM, shows_read

ENHANCED = {Modality.CT: "1.2.840.10008.5.1.4.1.1.2.1", Modality.MR: "1.2.840.10008.5.1.4.1.1.4.1"}


def item(**values) -> list[Dataset]:
    dataset = Dataset()
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return [dataset]


def enhance(files, path, modality, order=None):
    """The classic slices as frames of one file; geometry in the per-frame groups."""
    slices = [pydicom.dcmread(file) for file in files]
    slices = [slices[number] for number in order or range(len(slices))]
    first = slices[0]
    whole = Dataset()
    whole.file_meta = pydicom.dataset.FileMetaDataset()
    whole.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    whole.file_meta.MediaStorageSOPClassUID = whole.SOPClassUID = ENHANCED[modality]
    whole.file_meta.MediaStorageSOPInstanceUID = whole.SOPInstanceUID = generate_uid()
    for keyword in ("Modality", "PatientID", "PatientName", "StudyInstanceUID", "Rows", "Columns",
                    "SeriesInstanceUID", "FrameOfReferenceUID", "BitsAllocated", "BitsStored",
                    "HighBit", "PixelRepresentation", "SamplesPerPixel",
                    "PhotometricInterpretation", "ManufacturerModelName"):  # fmt: skip
        setattr(whole, keyword, first[keyword].value)
    shared = Dataset()
    shared.PlaneOrientationSequence = item(ImageOrientationPatient=first.ImageOrientationPatient)
    shared.PixelMeasuresSequence = item(
        PixelSpacing=first.PixelSpacing, SliceThickness=first.SliceThickness
    )
    if modality is Modality.MR:
        shared.MRTimingAndRelatedParametersSequence = item(RepetitionTime=650.0, FlipAngle=90.0)
        shared.MREchoSequence = item(EffectiveEchoTime=12.5)
    whole.SharedFunctionalGroupsSequence = [shared]
    groups = []
    for one in slices:
        group = Dataset()
        group.PlanePositionSequence = item(ImagePositionPatient=one.ImagePositionPatient)
        if "RescaleSlope" in one:
            group.PixelValueTransformationSequence = item(
                RescaleSlope=one.RescaleSlope, RescaleIntercept=one.RescaleIntercept
            )
        groups.append(group)
    whole.PerFrameFunctionalGroupsSequence = groups
    whole.NumberOfFrames = len(slices)
    whole.PixelData = b"".join(one.PixelData for one in slices)
    whole["PixelData"].VR = "OW"
    path.parent.mkdir(parents=True, exist_ok=True)
    whole.save_as(path, enforce_file_format=True)
    return path


@pytest.fixture(params=[Modality.CT, Modality.MR])
def classic(request, tmp_path, oblique, write_ct):
    volume = Volume(oblique.array, oblique.grid, request.param)
    return write_ct(tmp_path / "classic", volume), volume


@shows_read(DICOM, "enhanced multi-frame CT or MR with frames in any order", "ordered by position")
@pytest.mark.parametrize("order", [None, [3, 0, 7, 1, 2, 11, 4, 5, 6, 8, 9, 10]])
def test_frames_in_any_order_are_the_classic_volume(tmp_path, classic, order):
    files, volume = classic
    path = enhance(files, tmp_path / "enhanced" / "one.dcm", volume.modality, order)
    for source in (path, path.parent):
        back = read_scan(source)
        assert back.modality is volume.modality
        assert np.array_equal(back.array, volume.array)
        assert np.abs(back.grid.affine - volume.grid.affine).max() < 1e-6


def test_compressed_frames_are_the_classic_volume(tmp_path, classic):
    files, volume = classic
    path = enhance(files, tmp_path / "enhanced.dcm", volume.modality)
    dataset = pydicom.dcmread(path)
    dataset.compress(RLELossless)
    dataset.save_as(path)
    assert np.array_equal(read_scan(path).array, volume.array)


def test_sequence_facts_stand_in_the_functional_groups(tmp_path, oblique, write_ct):
    files = write_ct(tmp_path / "classic", Volume(oblique.array, oblique.grid, Modality.MR))
    facts = describe(enhance(files, tmp_path / "enhanced.dcm", Modality.MR)).sequence
    assert facts["repetition_time_ms"] == 650.0
    assert facts["echo_time_ms"] == 12.5
    assert facts["flip_angle_deg"] == 90.0


def test_a_listing_shows_one_scan_of_many_frames(tmp_path, classic):
    files, volume = classic
    path = enhance(files, tmp_path / "enhanced" / "one.dcm", volume.modality)
    (row,) = find(path.parent)
    assert (row.kind, row.modality, row.files) == ("scan", volume.modality, ("one.dcm",))
    assert row.grid is not None
    assert np.array_equal(row.read().array, volume.array)


def test_a_frame_cut_off_is_refused(tmp_path, classic):
    files, volume = classic
    path = enhance(files, tmp_path / "enhanced.dcm", volume.modality)
    data = path.read_bytes()
    for cut in (1, 100, len(data) // 2):
        path.write_bytes(data[:-cut])
        with pytest.raises(DataError):
            read_scan(path)


def test_a_frame_at_the_place_of_another_is_refused(tmp_path, classic):
    files, volume = classic
    path = enhance(files, tmp_path / "enhanced.dcm", volume.modality, [0, 1, 2, 3, 3, 5])
    with pytest.raises(DataError) as caught:
        read_scan(path)
    assert caught.value.code == "duplicate-slices"
