"""A damaged, incomplete or hostile file gives an error that names it, never wrong voxels."""

from __future__ import annotations

import gzip
import struct
import zlib

import numpy as np
import pytest
import SimpleITK as sitk

from synthct.data.errors import DataError, UsageError
from synthct.data.readers import read_scan
from synthct.data.volume import Grid, Modality, Volume
from synthct.data.writers import SUFFIXES, write_image
from tests.fixtures.outcomes import METAIMAGE, NIFTI, NRRD, shows_refusal

GRID = Grid((6, 8, 10), (3.0, 1.0, 1.0))


@pytest.fixture
def scan(tmp_path):
    values = np.random.default_rng(2).integers(-1000, 1000, GRID.shape).astype(np.int16)

    def write(suffix):
        path = tmp_path / f"scan{suffix}"
        write_image(path, Volume(values, GRID, Modality.CT))
        return path

    return write


def refused(path, code=None):
    with pytest.raises(DataError) as caught:
        read_scan(path, Modality.CT)
    assert str(path) in str(caught.value)
    assert caught.value.remedy
    assert code is None or caught.value.code == code
    return caught.value


@shows_refusal((NIFTI, METAIMAGE, NRRD), "a truncated file")
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_truncated_file_is_refused_wherever_it_ends(scan, suffix):
    path = scan(suffix)
    whole = path.read_bytes()
    for length in sorted({0, 1, 100, 347, 348, len(whole) // 2, len(whole) - 9, len(whole) - 1}):
        path.write_bytes(whole[:length])
        refused(path)


@shows_refusal((NIFTI, METAIMAGE, NRRD), "bytes after the end")
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_bytes_after_the_end_are_refused(scan, suffix):
    path = scan(suffix)
    path.write_bytes(path.read_bytes() + b"\0\0")
    refused(path)


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
def test_every_flipped_bit_of_a_compressed_payload_is_found(scan, suffix):
    path = scan(suffix)
    good, whole = read_scan(path, Modality.CT).array, path.read_bytes()
    start = {".nii.gz": 10, ".nrrd": whole.find(b"\n\n") + 12}.get(suffix, whole.find(b"LOCAL") + 6)
    rng = np.random.default_rng(7)
    for position in rng.integers(start, len(whole), 60):
        flipped = bytearray(whole)
        flipped[position] ^= 1 << int(rng.integers(8))
        path.write_bytes(bytes(flipped))
        try:
            found = read_scan(path, Modality.CT)
        except DataError:
            continue
        assert np.array_equal(found.array, good)  # a flip of an unused header bit of gzip


def test_a_declared_size_that_is_not_on_disk_is_refused(scan):
    path = scan(".nii")
    data = bytearray(path.read_bytes())
    struct.pack_into("<h", data, 42, 11)  # dim[1]: 11 where 10 columns are stored
    path.write_bytes(bytes(data))
    refused(path, "damaged")


@pytest.mark.parametrize("suffix", [".nii", ".mha", ".nrrd"])
def test_a_single_image_is_not_a_scan(tmp_path, suffix):
    flat = sitk.GetImageFromArray(np.zeros((8, 10), np.int16))
    sitk.WriteImage(flat, str(tmp_path / f"flat{suffix}"))
    refused(tmp_path / f"flat{suffix}")
    one = sitk.GetImageFromArray(np.zeros((1, 8, 10), np.int16))
    sitk.WriteImage(one, str(tmp_path / f"one{suffix}"))
    refused(tmp_path / f"one{suffix}", "not-3d")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_without_a_modality_the_user_is_asked_for_it(scan, suffix):
    with pytest.raises(UsageError, match="give the modality"):
        read_scan(scan(suffix))


@shows_refusal(METAIMAGE, "voxels in another file", "external-data")
@pytest.mark.parametrize("target", ["/etc/passwd", "other.raw", "LIST"])
def test_metaimage_does_not_read_other_files(scan, target):
    path = scan(".mha")
    path.write_bytes(path.read_bytes().replace(b"LOCAL", target.encode()))
    refused(path, "external-data")


@shows_refusal(NRRD, "voxels in another file", "external-data")
@pytest.mark.parametrize("name", ["data file", "datafile"])
def test_nrrd_does_not_read_other_files(scan, name):
    path = scan(".nrrd")
    path.write_bytes(path.read_bytes().replace(b"\n\n", f"\n{name}: /etc/passwd\n\n".encode(), 1))
    refused(path, "external-data")


@pytest.mark.parametrize("suffix", [".mha", ".nrrd"])
def test_a_header_line_given_twice_is_refused(scan, suffix):
    path = scan(suffix)
    line = b"DimSize = 10 8 6\n" if suffix == ".mha" else b"sizes: 10 8 6\n"
    data = path.read_bytes()
    assert line in data
    path.write_bytes(data.replace(line, line + line, 1))
    refused(path, "bad-header")


@pytest.mark.parametrize("line", [b"TransformMatrix", b"Offset", b"BinaryDataByteOrderMSB"])
def test_a_misspelt_header_field_does_not_fall_back_to_its_default(scan, line):
    path = scan(".mha")
    hurt = bytearray(line)
    hurt[3] ^= 2
    path.write_bytes(path.read_bytes().replace(line, bytes(hurt), 1))
    refused(path, "bad-header")


def test_a_field_that_a_program_added_is_no_misspelt_one(scan):
    path = scan(".mha")
    extra = b"PatientID = x\nSeriesDescription = y\nOffsetTable = 1 2\nNDims"
    path.write_bytes(path.read_bytes().replace(b"NDims", extra, 1))
    assert read_scan(path, Modality.CT).grid.is_close(GRID)


def test_a_misspelt_origin_of_an_nrrd_is_not_zero(scan):
    path = scan(".nrrd")
    path.write_bytes(path.read_bytes().replace(b"space origin", b"space orifin", 1))
    refused(path, "bad-header")


def test_a_flag_that_is_neither_true_nor_false_is_refused(scan):
    path = scan(".mha")
    path.write_bytes(path.read_bytes().replace(b"CompressedData = True", b"CompressedData = Trve"))
    refused(path, "bad-header")


def test_absurd_dimensions_are_refused_before_memory_is_taken(scan):
    path = scan(".mha")
    path.write_bytes(path.read_bytes().replace(b"DimSize = 10 8 6", b"DimSize = 9999 9999 9999"))
    refused(path, "too-large")


def test_a_gzip_bomb_is_refused_after_its_declared_size(scan):
    path = scan(".nii.gz")
    plain = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(plain + bytes(50_000_000)))
    refused(path, "too-much-data")


def test_a_zlib_bomb_is_refused_after_its_declared_size(scan):
    path = scan(".mha")
    data = path.read_bytes()
    start = data.index(b"LOCAL\n") + 6
    body = zlib.compress(bytes(50_000_000))
    head = data[:start].split(b"\n")
    head = [f"CompressedDataSize = {len(body)}".encode() if b"CompressedDataSize" in x else x
            for x in head]  # fmt: skip
    path.write_bytes(b"\n".join(head) + body)
    refused(path, "too-much-data")


def test_sheared_nifti_is_refused(scan):
    path = scan(".nii")
    data = bytearray(path.read_bytes())
    data[348] = 0  # no exact affine
    struct.pack_into("<h", data, 252, 0)  # no qform
    struct.pack_into("<f", data, 280 + 4, 0.5)  # x moves with the row
    struct.pack_into("<f", data, 80 + 4, float(np.hypot(1.0, 0.5)))  # pixdim follows
    path.write_bytes(bytes(data))
    refused(path, "direction-skewed")


def test_nifti_whose_two_orientations_differ_is_refused(scan):
    path = scan(".nii")
    data = bytearray(path.read_bytes())
    struct.pack_into("<f", data, 268, 33.0)  # qoffset_x
    path.write_bytes(bytes(data))
    refused(path, "two-orientations")


def test_nifti_without_an_orientation_is_refused(scan):
    path = scan(".nii")
    data = bytearray(path.read_bytes())
    struct.pack_into("<2h", data, 252, 0, 0)
    path.write_bytes(bytes(data))
    refused(path, "no-orientation")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_voxel_that_is_no_number_is_refused_unless_asked_for(tmp_path, value):
    values = np.zeros(GRID.shape, np.float32)
    values[2, 3, 4] = value
    path = tmp_path / "scan.nii.gz"
    write_image(path, Volume(values, GRID, Modality.MR))
    with pytest.raises(DataError, match="1 voxels are NaN or infinite"):
        read_scan(path, Modality.MR)
    kept = read_scan(path, Modality.MR, require_finite=False).array
    assert np.flatnonzero(~np.isfinite(kept)).tolist() == [2 * 80 + 3 * 10 + 4]


def test_an_unknown_suffix_is_refused(tmp_path):
    (tmp_path / "scan.png").write_bytes(b"\x89PNG" + bytes(200))
    refused(tmp_path / "scan.png", "unknown-format")
