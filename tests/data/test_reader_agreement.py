"""Undamaged files mean to our readers what they mean to SimpleITK and nibabel."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from synthct.data.itk import grid_of
from synthct.data.readers import describe, read_scan
from synthct.data.volume import Modality
from synthct.data.writers import write_image

FILES = (
    "sts_mr_ct/STS_001/CT.nii.gz", "sts_mr_ct/STS_001/MR_T1.nii.gz",
    "sts_mr_ct/STS_002/CT.nii.gz", "small_ct_mr/example_ct.nii.gz",
    "small_ct_mr/example_mr_sm.nii.gz", "small_ct_mr/example_seg.nii.gz",
    "lung_ct_pair/3DCT_lung_baseline.mha", "lung_ct_pair/3DCT_lung_followup_mask.mha",
)  # fmt: skip
SERIES = (
    "sts_mr_ct/STS_001/CT_dicom", "sts_mr_ct/STS_001/MR_T1_dicom",
    "sts_mr_ct/STS_001_raw/MR_T1_dicom", "sts_mr_ct/STS_002/CT_dicom",
)  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_files_agree_with_simpleitk(shared_data, name):
    volume = read_scan(shared_data / name, Modality.CT)
    image = sitk.ReadImage(str(shared_data / name))
    assert np.array_equal(volume.array, sitk.GetArrayFromImage(image))
    assert np.abs(volume.grid.affine - grid_of(image).affine).max() < 1e-4


@pytest.mark.parametrize("name", SERIES)
def test_series_agree_with_simpleitk(shared_data, name):
    volume = read_scan(shared_data / name)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(shared_data / name)))
    image = reader.Execute()
    assert np.array_equal(volume.array, sitk.GetArrayFromImage(image))
    assert np.abs(volume.grid.affine - grid_of(image).affine).max() < 1e-6


@pytest.mark.parametrize("name", [name for name in FILES if "nii" in name])
def test_nifti_agrees_with_nibabel(shared_data, name):
    volume = read_scan(shared_data / name, Modality.CT)
    image = nibabel.load(shared_data / name)
    assert np.array_equal(volume.array, np.asarray(image.dataobj).T)
    to_lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ image.affine
    ours = volume.grid.affine[[2, 1, 0, 3]][:, [2, 1, 0, 3]]
    assert np.abs(ours - to_lps).max() < 1e-4


@pytest.mark.parametrize("patient", ["STS_001", "STS_002"])
@pytest.mark.parametrize(
    ("series", "file"), [("CT_dicom", "CT.nii.gz"), ("MR_T1_dicom", "MR_T1.nii.gz")]
)
def test_a_scan_is_the_same_from_dicom_and_from_nifti(shared_data, patient, series, file):
    folder = shared_data / "sts_mr_ct" / patient
    from_dicom = read_scan(folder / series)
    from_nifti = read_scan(folder / file, from_dicom.modality)
    assert np.array_equal(from_dicom.array, from_nifti.array)
    assert from_dicom.grid.is_close(from_nifti.grid, 1e-3)


def test_oblique_cone_beam_zip_has_air_at_minus_1000(shared_data):
    path = shared_data / "catphan_cbct" / "High_quality_head.zip"
    volume, facts = read_scan(path), describe(path)
    assert volume.modality is Modality.CBCT
    assert volume.grid.shape == (64, 512, 512)  # 65 files: one is a structure set
    rim = volume.array[:, 240:270, 20:60]
    assert abs(float(np.median(rim)) + 1000) < 30
    water = volume.array[5:10, 240:270, 240:270]
    assert abs(float(np.median(water))) < 150
    assert facts.sequence["tube_kv"] == 100.0


@pytest.mark.parametrize("dtype", ["u1", "i1", "<i2", ">i2", "u2", "i4", "u4", "f4", "f8"])
def test_nifti_of_every_type_and_byte_order_reads_as_nibabel_wrote_it(tmp_path, dtype):
    values = np.random.default_rng(0).integers(0, 100, (5, 6, 7)).astype(dtype)
    header = nibabel.Nifti1Header(endianness=">" if dtype[0] == ">" else "<")
    header.set_data_dtype(np.dtype(dtype))
    affine = np.array([[-1.5, 0, 0, 80], [0, 0.5, 0, -40.25], [0, 0, 3, 7], [0, 0, 0, 1]])
    image = nibabel.Nifti1Image(values, affine, header)
    image.set_qform(affine, 1)
    image.set_sform(affine, 1)
    nibabel.save(image, tmp_path / "x.nii.gz")
    volume = read_scan(tmp_path / "x.nii.gz", Modality.MR)
    assert np.array_equal(volume.array, values.T)
    assert volume.grid.spacing_mm == (3.0, 0.5, 1.5)
    assert volume.grid.origin_mm == (7.0, 40.25, -80.0)


def test_nifti_scaling_gives_hounsfield_units_exactly(tmp_path):
    stored = np.arange(5 * 6 * 7, dtype=np.uint16).reshape(5, 6, 7) * 10
    image = nibabel.Nifti1Image(stored, np.eye(4))
    image.set_sform(np.eye(4), 1)
    image.header.set_slope_inter(1, -1024)
    image.header.set_data_dtype(np.uint16)
    nibabel.save(image, tmp_path / "x.nii")
    raw = bytearray((tmp_path / "x.nii").read_bytes())
    raw[112:120] = np.array([1, -1024], "<f4").tobytes()  # nibabel rescales on saving
    (tmp_path / "x.nii").write_bytes(bytes(raw))
    volume = read_scan(tmp_path / "x.nii", Modality.CT)
    expected = np.asarray(nibabel.load(tmp_path / "x.nii").dataobj).T
    assert volume.array.dtype == np.int16
    assert np.array_equal(volume.array, expected)


def test_big_endian_and_uncompressed_metaimages_read_as_simpleitk_reads_them(tmp_path, oblique):
    write_image(tmp_path / "a.mha", oblique)
    sitk.WriteImage(sitk.ReadImage(str(tmp_path / "a.mha")), str(tmp_path / "b.mha"), False)
    text = (tmp_path / "b.mha").read_bytes()
    start = text.index(b"LOCAL\n") + 6
    swapped = np.frombuffer(text[start:], "<i2").astype(">i2").tobytes()
    head = text[:start].replace(b"BinaryDataByteOrderMSB = False", b"BinaryDataByteOrderMSB = True")
    (tmp_path / "c.mha").write_bytes(head + swapped)
    for name in ("b.mha", "c.mha"):
        image = sitk.ReadImage(str(tmp_path / name))
        volume = read_scan(tmp_path / name, Modality.CT)
        assert np.array_equal(volume.array, sitk.GetArrayFromImage(image))
        assert np.array_equal(volume.array, oblique.array)
