"""Series that are no volume are refused with the reason."""

from __future__ import annotations

import shutil
import zipfile

import numpy as np
import pydicom
import pytest

from synthct.data.errors import DataError
from synthct.data.readers import read_scan, read_scan_and_facts
from synthct.data.volume import Modality, Volume
from tests.fixtures.outcomes import DICOM, shows_read, shows_refusal, shows_repair


def refused(path, code):
    with pytest.raises(DataError) as caught:
        read_scan(path)
    assert caught.value.code == code, str(caught.value)
    assert caught.value.remedy
    return str(caught.value)


def edit(file, **values):
    dataset = pydicom.dcmread(file)
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    dataset.save_as(file)


def test_two_series_in_one_folder_are_named(tmp_path, series, oblique, write_ct):
    other = write_ct(tmp_path / "other", oblique, series="follow-up")
    for file in other:
        shutil.copy(file, series[0].parent / f"b{file.name}")
    told = refused(series[0].parent, "several-series")
    assert "'s' (series 1, 12 files)" in told
    assert "'follow-up' (series 1, 12 files)" in told


def test_file_names_do_not_decide_the_order_of_slices(series, oblique):
    folder = series[0].parent
    for number, file in enumerate(series):
        file.rename(folder / f"{(number * 7) % 12:02d}x")
    assert np.array_equal(read_scan(folder).array, oblique.array)


def test_nested_folders_and_other_files_do_not_disturb(series, oblique):
    folder = series[0].parent
    (folder / "deep" / "er").mkdir(parents=True)
    series[3].rename(folder / "deep" / "er" / "x.dcm")
    (folder / "notes.txt").write_text("not DICOM")
    (folder / "empty").touch()
    assert np.array_equal(read_scan(folder).array, oblique.array)


def test_a_missing_slice_is_found(series):
    series[5].unlink()
    assert "missing slices: 1," in refused(series[0].parent, "missing-slices")


def test_a_repeated_slice_is_found(series):
    data = bytearray(series[5].read_bytes())
    data[-1] ^= 1  # a second image of the same place, not a copy
    series[5].with_name("again.dcm").write_bytes(data)
    assert "again.dcm" in refused(series[0].parent, "duplicate-slices")


def test_an_exact_copy_of_a_slice_is_dropped_and_it_is_reported(series, oblique):
    shutil.copy(series[5], series[5].with_name("again.dcm"))
    volume, facts = read_scan_and_facts(series[0].parent)
    assert volume.grid.is_close(oblique.grid, 1e-3)
    assert [(remark.code, remark.repaired) for remark in facts.remarks] == [
        ("repeated-slices", True)
    ]


def test_rounded_direction_cosines_are_made_perpendicular(series, oblique):
    for file in series:
        edit(file, ImageOrientationPatient=[
            f"{v:.3f}" for v in pydicom.dcmread(file).ImageOrientationPatient])  # fmt: skip
    volume, facts = read_scan_and_facts(series[0].parent)
    assert "direction-rounded" in [remark.code for remark in facts.remarks]
    assert np.abs(np.asarray(volume.grid.direction) - oblique.grid.direction).max() < 1e-3


@shows_read(
    DICOM,
    "instance numbers that contradict the positions",
    "ordered by position; the finding `shuffled-slices` says so",
)
def test_shuffled_instance_numbers_do_not_shuffle_the_volume(series, oblique):
    for number, file in enumerate(series):
        edit(file, InstanceNumber=str((number * 7) % len(series) + 1))
    volume, facts = read_scan_and_facts(series[0].parent)
    assert volume.grid.is_close(oblique.grid, 1e-3)
    assert [remark.code for remark in facts.remarks] == ["shuffled-slices"]


def test_uneven_spacing_is_found(series, oblique):
    normal = np.asarray(oblique.grid.direction)[::-1, 0]
    for file in series[6:]:
        position = np.array(pydicom.dcmread(file).ImagePositionPatient) + 0.6 * normal
        edit(file, ImagePositionPatient=[f"{v:.10g}" for v in position])
    refused(series[0].parent, "uneven-spacing")


def test_a_tilted_gantry_is_found(series):
    for number, file in enumerate(series):
        x, y, z = pydicom.dcmread(file).ImagePositionPatient
        edit(file, ImagePositionPatient=[x, f"{float(y) + 0.3 * number:.10g}", z])
    refused(series[0].parent, "gantry-tilt")


@pytest.mark.parametrize(
    ("keyword", "value", "code"),
    [
        ("ImageOrientationPatient", [1, 0, 0, 0, 1, 0], "mixed-orientation"),
        ("PixelSpacing", [0.8, 0.8], "mixed-pixelspacing"),
        ("Modality", "MR", "mixed-modality"),
        ("FrameOfReferenceUID", "1.2.3", "mixed-frameofreferenceuid"),
        ("ImagePositionPatient", None, "missing-tag"),
        ("RescaleIntercept", None, "no-rescale"),
        ("PhotometricInterpretation", "RGB", "not-grey"),
    ],
)
def test_one_slice_that_differs_is_found(series, keyword, value, code):
    edit(series[4], **{keyword: value})
    refused(series[0].parent, code)


@shows_read(
    DICOM,
    "slices with different rescale values",
    "each is applied; the finding `mixed-rescale` says so",
)
def test_rescale_is_applied_slice_by_slice(series, oblique):
    expected = oblique.array.astype(int)
    for number in (4, 5, 9):
        edit(series[number], RescaleIntercept="-1000", RescaleSlope="2")
        expected[number] = (expected[number] + 1024) * 2 - 1000
    assert np.array_equal(read_scan(series[0].parent).array, expected)


@shows_refusal(DICOM, "one slice alone with another rescale", "mixed-rescale")
def test_one_slice_alone_with_another_rescale_was_hurt(series):
    edit(series[4], RescaleIntercept="-1000")
    refused(series[0].parent, "mixed-rescale")


def test_one_slice_alone_out_of_line_was_hurt(series):
    position = [float(v) for v in pydicom.dcmread(series[4]).ImagePositionPatient]
    position[0] += 0.03
    edit(series[4], ImagePositionPatient=position)
    refused(series[0].parent, "slice-out-of-line")


def test_a_slice_of_another_patient_is_found_and_not_named(series):
    edit(series[4], PatientID="SECRET")
    assert "SECRET" not in str(refused(series[0].parent, "mixed-patientid"))


@pytest.mark.parametrize("number", [0, 4, 11])
def test_a_slice_whose_header_is_cut_does_not_vanish(series, number):
    whole = series[number].read_bytes()
    for length in range(300, whole.index(b"\xe0\x7f\x10\x00"), 25):
        series[number].write_bytes(whole[:length])
        with pytest.raises(DataError):
            read_scan(series[0].parent)


def test_a_truncated_slice_is_named(series):
    whole = series[4].read_bytes()
    for length in (len(whole) - 2, len(whole) // 2, 400):
        series[4].write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"0004\.dcm"):
            read_scan(series[0].parent)


def test_one_slice_is_not_a_scan(series):
    for file in series[1:]:
        file.unlink()
    refused(series[0].parent, "not-3d")


def test_an_empty_folder_is_refused(tmp_path):
    (tmp_path / "none").mkdir()
    refused(tmp_path / "none", "no-series")


def test_an_mr_given_as_ct_is_refused(tmp_path, oblique, write_ct):
    write_ct(tmp_path / "mr", Volume(oblique.array, oblique.grid, Modality.MR))
    with pytest.raises(DataError, match="MR where CT was expected"):
        read_scan(tmp_path / "mr", Modality.CT)


def test_a_ct_of_an_unknown_machine_may_be_called_cbct_by_the_user(series):
    assert read_scan(series[0].parent, Modality.CBCT).modality is Modality.CBCT


@shows_repair(DICOM, "overlays in unused bits", "removed")
def test_bits_above_those_stored_are_not_voxels(series, oblique):
    for file in series:  # an overlay in bit 15, 12 bits stored
        dataset = pydicom.dcmread(file)
        pixels = np.frombuffer(dataset.PixelData, "<u2").copy()
        pixels[::3] |= 0x8000
        dataset.BitsStored, dataset.HighBit = 12, 11
        dataset.PixelData = pixels.tobytes()
        dataset.save_as(file)
    assert np.array_equal(read_scan(series[0].parent).array, oblique.array)


@shows_refusal(DICOM, "a link that leads out of the source", "link-outside")
def test_a_link_out_of_the_folder_is_refused(tmp_path, series):
    (tmp_path / "secret").write_bytes(series[0].read_bytes())
    (series[0].parent / "link.dcm").symlink_to(tmp_path / "secret")
    refused(series[0].parent, "link-outside")


class TestZip:
    def pack(self, path, series, extra=()):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in series:
                archive.write(file, f"study/{file.name}")
            for name, data in extra:
                archive.writestr(name, data)
        return path

    def test_reads_like_the_folder(self, tmp_path, series, oblique):
        path = self.pack(tmp_path / "s.zip", series)
        before = sorted(tmp_path.rglob("*"))
        assert np.array_equal(read_scan(path).array, oblique.array)
        assert sorted(tmp_path.rglob("*")) == before  # nothing was unpacked beside it

    @pytest.mark.parametrize("name", ["../out.dcm", "/abs.dcm", "a/../../b", "..\\win", "c:evil"])
    def test_names_that_lead_outside_are_refused(self, tmp_path, series, name):
        refused(self.pack(tmp_path / "s.zip", series, [(name, b"x")]), "path-traversal")

    def test_links_are_refused(self, tmp_path, series):
        link = zipfile.ZipInfo("link.dcm")
        link.external_attr = 0o120777 << 16
        refused(self.pack(tmp_path / "s.zip", series, [(link, "/etc/passwd")]), "link-outside")

    def test_a_flipped_bit_is_found_by_its_crc(self, tmp_path, series):
        path = self.pack(tmp_path / "s.zip", series)
        data = bytearray(path.read_bytes())
        data[len(data) // 3] ^= 4
        path.write_bytes(bytes(data))
        with pytest.raises(DataError):
            read_scan(path)

    def test_a_truncated_zip_is_refused(self, tmp_path, series):
        path = self.pack(tmp_path / "s.zip", series)
        path.write_bytes(path.read_bytes()[:-30])
        with pytest.raises(DataError):
            read_scan(path)
