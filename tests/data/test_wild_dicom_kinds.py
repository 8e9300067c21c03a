"""Objects beside a scan, and series that are not scans, are distinguished by their headers."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
from pydicom.uid import HTJ2KLossless, generate_uid

from synthct.data.readers import find, read_scan, read_structures
from synthct.data.volume import Modality
from tests.data.wild_dicom import VALUES, WHERE, edit, refused, write_series
from tests.fixtures.outcomes import DICOM, shows_read, shows_refusal
from tests.fixtures.radiotherapy import dose_file, square, structure_set


@shows_read(
    DICOM, "a structure set or dose with the series UID of its CT", "told apart by their kind"
)
def test_structures_and_a_dose_with_the_uid_of_their_ct_do_not_hide_it(tmp_path):
    uid = generate_uid()
    write_series(tmp_path, WHERE, VALUES, series=uid)
    structure_set(tmp_path / "0-RS.dcm", {"a": [square(1, 4, 4.0)]}, SeriesInstanceUID=uid)
    stored_gy = np.full((4, 5, 6), 1000, "u4")
    edit(dose_file(tmp_path / "z-RD.dcm", stored_gy), SeriesInstanceUID=uid)
    for options in ({}, {"series": uid}):
        assert np.array_equal(read_scan(tmp_path, **options).array, VALUES)
        dose = read_scan(tmp_path, Modality.DOSE, **options)
        assert dose.array.shape == (4, 5, 6)
    assert read_structures(tmp_path).names == ("a",)
    rows = {row.kind: row for row in find(tmp_path)}
    assert sorted(rows) == ["dose", "scan", "structures"]
    assert {row.series for row in rows.values()} == {uid}
    assert np.array_equal(rows["scan"].read().array, VALUES)
    assert rows["dose"].grid is not None


@shows_read(DICOM, "a screen capture with the series UID of its CT", "ignored")
def test_a_screen_capture_with_the_uid_of_its_ct_does_not_hide_it(tmp_path):
    uid = generate_uid()
    write_series(tmp_path, WHERE, VALUES, series=uid)
    capture = pydicom.dcmread(tmp_path / "000.dcm")
    capture.SOPClassUID = capture.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
        del capture[keyword]
    capture.save_as(tmp_path / "capture.dcm")
    assert np.array_equal(read_scan(tmp_path).array, VALUES)


@shows_refusal(DICOM, "HTJ2K and other compressions without a decoder", "unknown-compression")
def test_a_compression_that_nothing_here_decodes_is_not_to_be_sent_again(tmp_path):
    write_series(tmp_path / "s", WHERE, VALUES)
    for file in (tmp_path / "s").iterdir():
        dataset = pydicom.dcmread(file)
        dataset.PixelData = pydicom.encaps.encapsulate([b"\xff\x4f" * 8])
        dataset["PixelData"].VR = "OB"
        dataset["PixelData"].is_undefined_length = True
        dataset.file_meta.TransferSyntaxUID = HTJ2KLossless
        dataset.save_as(file)
    fault = refused(tmp_path / "s")
    assert fault.code == "unknown-compression"
    assert "High-Throughput JPEG 2000" in fault.problem
    assert "dcmconv" not in fault.remedy  # it does not decompress
    assert "uncompressed" in fault.remedy
    assert "send the series again" not in str(fault)


@shows_refusal(DICOM, "MONOCHROME1, RGB or PALETTE COLOR", "not-grey")
@pytest.mark.parametrize(
    ("meaning", "samples", "word"),
    [("MONOCHROME1", 1, "convert"), ("RGB", 3, "capture"), ("PALETTE COLOR", 1, "capture")],
)
def test_inverted_and_coloured_pixels_are_not_to_be_sent_again(tmp_path, meaning, samples, word):
    write_series(tmp_path / "s", WHERE, VALUES)
    for file in (tmp_path / "s").iterdir():
        edit(file, PhotometricInterpretation=meaning, SamplesPerPixel=samples)
    fault = refused(tmp_path / "s")
    assert fault.code == "not-grey"
    assert meaning in fault.problem
    assert word in fault.remedy


@pytest.mark.parametrize("number", [0, 3, 5])
@pytest.mark.parametrize("sop_class", ["1.2.840.00008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.6"])
def test_a_slice_with_a_wrong_bit_in_its_class_is_not_left_out(tmp_path, number, sop_class):
    """The second is that of an ultrasound image: one bit away from CT."""
    write_series(tmp_path / "s", WHERE, VALUES)
    edit(tmp_path / "s" / f"00{number}.dcm", SOPClassUID=sop_class)
    assert np.array_equal(read_scan(tmp_path / "s").array, VALUES)
    assert [row.kind for row in find(tmp_path / "s")] == ["scan"]
