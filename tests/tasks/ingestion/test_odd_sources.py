"""Odd files from hospitals are ingested correctly or reported in a line, and stop nothing."""

from __future__ import annotations

import gzip
import io
import shutil
import zipfile

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian, generate_uid

from synthct.data.errors import UsageError
from synthct.data.readers import read_scan
from synthct.data.volume import Modality
from synthct.data.writers import write_image
from synthct.data.writers.dicom import write_series
from synthct.tasks.intake import plan_intake
from tests.fixtures.radiotherapy import saved


@pytest.fixture(autouse=True)
def _key(monkeypatch):
    monkeypatch.setenv("SYNTHCT_PSEUDONYM_KEY", "a key of more than sixteen characters")


@pytest.fixture
def send(tmp_path):
    def write(name, volume, patient="DOE"):
        return write_series(tmp_path / "pacs" / name, volume, patient_id=patient, study="1",
                            series_description=name, uid_seed=name)  # fmt: skip

    return write


def plan_of(tmp_path, source="pacs"):
    return plan_intake([tmp_path / source], "demo", tmp_path / "raw")


def statuses(plan):
    return {row.scan: row.status for row in plan.rows}


def test_a_folder_without_a_scan_is_a_mistake_of_use(tmp_path):
    (tmp_path / "pacs").mkdir()
    (tmp_path / "pacs" / "readme.txt").write_text("nothing here")
    with pytest.raises(UsageError, match="the sources have no DICOM"):
        plan_of(tmp_path)


def test_a_series_copied_into_two_folders_is_not_sunk_by_a_strangers_file(tmp_path, send, ct, mr):
    send("one/ct", ct)
    send("one/mr", mr)
    shutil.copytree(tmp_path / "pacs/one/ct", tmp_path / "pacs/two/ct")
    (tmp_path / "pacs" / "junk").mkdir()
    (tmp_path / "pacs" / "junk" / "half.dcm").write_bytes(b"no DICOM")
    plan = plan_of(tmp_path)
    assert statuses(plan) == {"ct": "new", "mr": "new"}
    assert plan.rows[0].findings[0].code == "repeated-slices"


def test_files_that_macos_lays_beside_slices_are_no_damaged_slices(tmp_path, send, ct):
    for file in send("ct", ct):
        beside = file.with_name(f"._{file.name}")
        beside.write_bytes(b"\x00\x05\x16\x07" + bytes(78))
    plan = plan_of(tmp_path)
    assert statuses(plan) == {"ct": "new"}
    assert not any("damaged" in note or "whole" in note for note in plan.notes)


def test_a_zip_inside_a_zip_is_reported(tmp_path, send, ct):
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        for file in send("ct", ct):
            archive.write(file, file.name)
    with zipfile.ZipFile(tmp_path / "outer.zip", "w") as archive:
        archive.writestr("inner.zip", inner.getvalue())
        archive.writestr("ct.nii.gz", gzip.compress(b"x"))
    plan = plan_of(tmp_path, "outer.zip")
    assert plan.rows == ()
    assert sum("a zip holds DICOM files" in note for note in plan.notes) == 2


def test_a_phase_image_is_not_taken_for_the_mr(tmp_path, send, ct, mr):
    send("ct", ct)
    for name, kind, volume in (("a", "P", mr.with_array(mr.array + 9)), ("b", "M", mr)):
        for file in send(name, volume):
            dataset = pydicom.dcmread(file)
            dataset.ImageType = ["ORIGINAL", "PRIMARY", kind]
            dataset.save_as(file)
    plan = plan_of(tmp_path)
    (row,) = (row for row in plan.rows if row.scan == "mr")
    assert plan.places[row.place].endswith("b")
    assert any("phase" in note for note in plan.notes)


def test_magnitude_and_phase_in_one_series_are_refused_in_a_line(tmp_path, send, ct, mr):
    send("ct", ct)
    for file in send("mr", mr):
        dataset = pydicom.dcmread(file)
        dataset.SOPInstanceUID = generate_uid()
        dataset.PixelData = bytes(len(dataset.PixelData))
        dataset.save_as(file.with_name(f"phase_{file.name}"))
    plan = plan_of(tmp_path)
    assert statuses(plan) == {"ct": "new", "mr": "refused"}
    assert {row.findings[0].code for row in plan.rows if row.scan == "mr"} == {"duplicate-slices"}


def test_plans_positrons_and_captures_are_named_and_sink_nothing(tmp_path, send, ct, mr):
    send("ct", ct)
    for file in send("pet", mr):
        dataset = pydicom.dcmread(file)
        dataset.Modality, dataset.SOPClassUID = "PT", "1.2.840.10008.5.1.4.1.1.128"
        dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
        dataset.save_as(file)
    for name, kind in (("RTPLAN", "481.5"), ("OT", "7")):
        dataset = Dataset()
        dataset.Modality = name
        saved(tmp_path / "pacs" / name / "a.dcm", dataset, f"1.2.840.10008.5.1.4.1.1.{kind}")
    plan = plan_of(tmp_path)
    assert statuses(plan) == {"ct": "new"}
    told = " ".join(plan.notes)
    for name in ("PT (16 files)", "RTPLAN (1 file)", "OT (1 file)"):
        assert name in told


def test_big_endian_files_have_the_same_voxels(tmp_path, send, ct):
    for file in send("ct", ct):
        dataset = pydicom.dcmread(file)
        dataset.PixelData = np.frombuffer(dataset.PixelData, "<i2").astype(">i2").tobytes()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
        pydicom.dcmwrite(file, dataset, implicit_vr=False, little_endian=False, force_encoding=True)
    assert np.array_equal(read_scan(tmp_path / "pacs").array, ct.array)


@pytest.mark.parametrize(("unit", "factor"), [(1, 1e-3), (3, 1e3), (2, 1.0)])
def test_a_nifti_in_metres_or_micrometres_lies_where_it_should(tmp_path, ct, unit, factor):
    nib = pytest.importorskip("nibabel")
    affine = np.diag([*(-np.array(ct.grid.spacing_mm[::-1]) * factor)[:2], 4.0 * factor, 1.0])
    image = nib.Nifti1Image(ct.array.transpose(2, 1, 0), affine)
    image.header.set_xyzt_units(unit)
    nib.save(image, tmp_path / "ct.nii.gz")
    back = read_scan(tmp_path / "ct.nii.gz", Modality.CT)
    assert np.allclose(back.grid.spacing_mm, (4.0, 3.0, 3.0), atol=1e-4)


def test_a_nifti_with_a_slope_is_in_hounsfield_units(tmp_path, ct):
    write_image(tmp_path / "ct.nii", ct.with_array((ct.array + 1024).astype(np.int16)))
    data = bytearray((tmp_path / "ct.nii").read_bytes())
    data[112:120] = np.array([1.0, -1024.0], "<f4").tobytes()
    (tmp_path / "ct.nii").write_bytes(data)
    assert np.array_equal(read_scan(tmp_path / "ct.nii", Modality.CT).array, ct.array)
