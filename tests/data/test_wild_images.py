"""NIfTI, MetaImage, NRRD and OME-Zarr as other programs write them."""

from __future__ import annotations

import itertools
import json
import shutil
import struct

import numcodecs
import numpy as np
import pytest
import SimpleITK as sitk
import zarr

from synthct.data.errors import DataError
from synthct.data.readers import find, read_scan
from synthct.data.volume import Modality
from tests.data import points
from tests.data.wild_images import write_mha, write_nifti, write_nrrd, write_zarr
from tests.fixtures.outcomes import METAIMAGE, NIFTI, NRRD, OME_ZARR, shows_read, shows_refusal

WHERE = points.grid((6, 10, 12), (2.0, 1.5, 3.0), points.rotation(2, 20), (5.0, -8.0, 12.0))
VALUES = points.image(WHERE)
STRAIGHT = points.grid((32, 64, 64), (1.5, 1.5, 2.0), np.eye(3), (0.0, 0.0, 0.0))
CHUNKS = (16, 16, 16)


def refused(path, modality=Modality.CT):
    with pytest.raises(DataError) as caught:
        read_scan(path, modality)
    return caught.value


@shows_read(NIFTI, "`scl_slope` NaN or 0", "no scaling")
@pytest.mark.parametrize(("slope", "intercept"), [(np.nan, np.nan), (np.nan, 0.0), (0.0, 7.0)])
def test_a_scaling_that_was_never_set_is_none(tmp_path, slope, intercept):
    path = write_nifti(tmp_path / "a.nii", WHERE, VALUES, slope=slope, intercept=intercept)
    assert np.array_equal(read_scan(path, Modality.CT).array, VALUES)


@shows_refusal(NIFTI, "another scaling that is not finite", "bad-header")
@pytest.mark.parametrize(
    ("slope", "intercept"), [(np.nan, -1024.0), (np.inf, 0.0), (1.0, np.nan), (1.0, np.inf)]
)
def test_a_scaling_that_was_hurt_is_still_refused(tmp_path, slope, intercept):
    path = write_nifti(tmp_path / "a.nii", WHERE, VALUES, slope=slope, intercept=intercept)
    assert refused(path).code == "bad-header"


@shows_read(NIFTI, "a qform rounded to 32 bits, in any axis order", "the sform is used")
@pytest.mark.parametrize(("axis", "tilt"), [(0, 0.0), (0, 0.3), (1, 17.0), (0, 179.9)])
def test_no_axis_order_makes_simpleitks_two_orientations_differ(tmp_path, axis, tilt):
    expected = {}
    image = sitk.GetImageFromArray(np.zeros((60, 64, 62), np.uint8))
    image.SetSpacing((7.0, 7.0, 5.0))
    for number, turn in enumerate(points.TURNS):
        direction = points.rotation(axis, tilt) @ points.rotation(2, tilt / 3) @ turn
        where = points.grid((60, 64, 62), (7.0, 7.0, 5.0), direction, (1.0, 2.0, 3.0))
        image.SetDirection(direction.ravel().tolist())
        image.SetOrigin(where.origin_mm[::-1])
        sitk.WriteImage(image, str(tmp_path / f"{number}.nii"))
        expected[f"{number}.nii"] = where
    rows = find(tmp_path)
    assert [row.place for row in rows if row.error is not None] == []
    for row in rows:
        assert row.grid.is_close(expected[row.place], 2e-3)


@pytest.mark.parametrize("number", range(48))
def test_a_half_turn_in_a_qform_alone_is_one_to_the_last_digit(tmp_path, number):
    """``a² = 1 - b² - c² - d²`` of 32-bit numbers is 3e-8 for 0: 0.02°, or 0.05 mm at 150 mm."""
    where = points.grid((6, 10, 12), (2.0, 1.5, 3.0), points.TURNS[number], (5.0, -8.0, 12.0))
    path = write_nifti(tmp_path / "a.nii", where, points.image(where), codes=(1, 0))
    grid = read_scan(path, Modality.CT).grid
    np.testing.assert_allclose(grid.direction, where.direction, atol=3e-7)
    theirs = np.reshape(sitk.ReadImage(str(path)).GetDirection(), (3, 3))[::-1, ::-1]
    np.testing.assert_allclose(grid.direction, theirs, atol=3e-7)


@shows_refusal(NIFTI, "qform and sform at different places", "two-orientations")
@pytest.mark.parametrize("moved_mm", [0.1, 30.0])
def test_two_orientations_that_do_differ_are_still_refused(tmp_path, moved_mm):
    path = write_nifti(tmp_path / "a.nii", WHERE, VALUES, moved_sform_mm=moved_mm)
    assert refused(path).code == "two-orientations"


def test_a_quaternion_of_another_turn_is_still_refused(tmp_path):
    path = write_nifti(tmp_path / "a.nii", STRAIGHT, points.image(STRAIGHT),
                       quaternion=[0.0, 0.01, 0.99])  # fmt: skip
    assert refused(path).code == "two-orientations"


@shows_read(METAIMAGE, "a fourth or fifth axis of one element", "dropped")
@pytest.mark.parametrize("axes", [4, 5])
def test_one_frame_is_no_fourth_dimension_in_metaimage(tmp_path, axes):
    scan = read_scan(write_mha(tmp_path / "a.mha", WHERE, VALUES, axes=axes), Modality.CT)
    assert np.array_equal(scan.array, VALUES)
    assert scan.grid.is_close(WHERE)


@shows_read(NRRD, "a fourth axis of one element", "dropped")
@pytest.mark.parametrize("extra", ["first", "last"])
def test_one_component_is_no_fourth_dimension_in_nrrd(tmp_path, extra):
    scan = read_scan(write_nrrd(tmp_path / "a.nrrd", WHERE, VALUES, extra=extra), Modality.CT)
    assert np.array_equal(scan.array, VALUES)
    assert scan.grid.is_close(WHERE)


@shows_refusal((METAIMAGE, NRRD), "several frames or components", "not-3d")
def test_two_frames_are_reported_and_not_read_as_one(tmp_path):
    two = np.concatenate([VALUES, VALUES])
    sizes = " ".join(map(str, (*WHERE.shape[::-1], 2)))
    mha = write_mha(tmp_path / "a.mha", WHERE, two, axes=4, DimSize=sizes)
    nrrd = write_nrrd(tmp_path / "a.nrrd", WHERE, two, extra="last", sizes=sizes)
    for path in (mha, nrrd):
        fault = refused(path)
        assert fault.code == "not-3d"
        assert "2" in fault.problem


@shows_read(
    (METAIMAGE, NRRD),
    "`DistanceUnits` or `space units` in um, cm or mm",
    "converted to mm; SimpleITK ignores these fields",
)
@pytest.mark.parametrize(("unit", "unit_mm"), [("um", 1e-3), ("cm", 10.0), ("mm", 1.0)])
def test_lengths_in_another_unit_do_not_shrink_the_patient(tmp_path, unit, unit_mm):
    for path in (
        write_mha(tmp_path / "a.mha", WHERE, VALUES, unit=unit, unit_mm=unit_mm),
        write_nrrd(tmp_path / "a.nrrd", WHERE, VALUES, unit=unit, unit_mm=unit_mm, space="RAS"),
    ):
        assert read_scan(path, Modality.CT).grid.is_close(WHERE)


@shows_refusal((METAIMAGE, NRRD), "another unit of length", "unknown-unit")
def test_a_unit_that_is_not_known_is_refused(tmp_path):
    told = refused(write_mha(tmp_path / "a.mha", WHERE, VALUES, unit="inch"))
    assert told.code == "unknown-unit"
    assert "save it in millimetres" in told.remedy  # to export it again would change nothing
    nrrd = write_nrrd(tmp_path / "a.nrrd", WHERE, VALUES, unit="inch")
    assert refused(nrrd).code == "unknown-unit"
    mixed = write_nrrd(tmp_path / "b.nrrd", WHERE, VALUES, unit="mm", units='"cm" "cm" "cm"')
    assert refused(mixed).code == "unknown-unit"


@shows_read(
    METAIMAGE, "`ElementToIntensityFunctionSlope`, `...Offset`", "applied (SimpleITK ignores them)"
)
def test_the_intensity_function_of_metaimage_gives_hu(tmp_path):
    stored = (VALUES + 1024).astype(np.uint16)
    path = write_mha(tmp_path / "a.mha", WHERE, stored, ElementToIntensityFunctionSlope=1,
                     ElementToIntensityFunctionOffset=-1024)  # fmt: skip
    scan = read_scan(path, Modality.CT)
    assert np.array_equal(scan.array, VALUES)
    assert scan.array.dtype == np.int16


@shows_read(METAIMAGE, "`ElementSize` and no `ElementSpacing`", "the size is the spacing")
def test_voxels_that_state_their_size_alone_have_it_as_spacing(tmp_path):
    path = write_mha(tmp_path / "a.mha", WHERE, VALUES)
    path.write_bytes(path.read_bytes().replace(b"ElementSpacing = ", b"ElementSize = "))
    assert read_scan(path, Modality.CT).grid.is_close(WHERE, 1e-9)
    theirs = sitk.ReadImage(str(path)).GetSpacing()
    assert np.allclose(theirs, WHERE.spacing_mm[::-1])


def test_a_header_without_spacing_is_not_told_as_a_number_that_is_none(tmp_path):
    path = write_mha(tmp_path / "a.mha", WHERE, VALUES)
    path.write_bytes(path.read_bytes().replace(b"ElementSpacing = ", b"Comment = "))
    assert refused(path).problem == "the header has no ElementSpacing"


def body():
    """Air of exactly -1000 HU around a cylinder of tissue."""
    z, y, x = np.moveaxis(STRAIGHT.points(np.moveaxis(np.indices(STRAIGHT.shape), 0, -1)), -1, 0)
    return np.where((x / 33) ** 2 + (y / 21) ** 2 < 1, 40 + np.rint(z), -1000).astype(np.int16)


WRITTEN = [(3, None), (3, (32, 32, 32)), (2, None)]


@shows_read(
    OME_ZARR,
    "chunks left out by the writer, with a fill value of at most -900 HU",
    "the fill value, where the chunks lie outside the body",
)
@pytest.mark.parametrize(("version", "shards"), WRITTEN)
def test_chunks_of_air_that_a_writer_left_out_are_air(tmp_path, version, shards):
    path = write_zarr(tmp_path / "a.zarr", STRAIGHT, body(), version=version, shards=shards,
                      chunks=CHUNKS, fill=-1000)  # fmt: skip
    assert np.array_equal(read_scan(path, Modality.CT).array, body())


@shows_refusal(
    OME_ZARR, "an image, or a shard of it, that was not written completely", "missing-chunk"
)
@pytest.mark.parametrize(("version", "shards"), WRITTEN)
@pytest.mark.parametrize("fill", [0, -1000])
@pytest.mark.parametrize(
    "part",
    [
        np.s_[:16, :, :],
        np.s_[:, :32, :],
        np.s_[:, :, 16:],
        np.s_[:, :, :48],
        np.s_[16:, 16:48, :48],
    ],
)
def test_a_half_written_image_is_not_filled_up_with_water_or_air(
    tmp_path, version, shards, fill, part
):
    ct = body() if fill else points.image(STRAIGHT)
    path = write_zarr(tmp_path / "a.zarr", STRAIGHT, ct, version=version, shards=shards,
                      chunks=CHUNKS, fill=fill, only=part)  # fmt: skip
    assert refused(path).code == "missing-chunk"


@pytest.mark.parametrize("shards", [None, (32, 64, 64)])
def test_an_image_that_was_never_written_is_no_scan_of_air(tmp_path, shards):
    path = write_zarr(tmp_path / "a.zarr", STRAIGHT, body(), shards=shards, fill=-1000,
                      only=np.s_[:0, :, :])  # fmt: skip
    assert refused(path).code == "missing-chunk"


@shows_refusal(OME_ZARR, "a missing chunk inside the body", "missing-chunk")
def test_one_chunk_that_was_lost_inside_the_body_is_not_air(tmp_path):
    path = write_zarr(tmp_path / "a.zarr", STRAIGHT, body(), chunks=CHUNKS, fill=-1000)
    (path / "0" / "c" / "1" / "1" / "1").unlink()
    assert refused(path).code == "missing-chunk"


def lungs():
    """The body, nearly filled by one lung that no voxel of -1000 HU is in."""
    _z, y, x = np.moveaxis(STRAIGHT.points(np.moveaxis(np.indices(STRAIGHT.shape), 0, -1)), -1, 0)
    dark = np.random.default_rng(2).integers(-880, -720, STRAIGHT.shape)
    return np.where((x / 29) ** 2 + (y / 18) ** 2 < 1, dark, body()).astype(np.int16)


def test_a_chunk_that_was_lost_inside_the_lung_is_not_air(tmp_path):
    """Lung is as dark as background; but nothing beside the chunk has the fill value."""
    path = write_zarr(tmp_path / "a.zarr", STRAIGHT, lungs(), chunks=(16, 8, 8), fill=-1000)
    assert np.array_equal(read_scan(path, Modality.CT).array, lungs())
    (path / "0" / "c" / "1" / "3" / "3").unlink()
    assert refused(path).code == "missing-chunk"


def test_chunks_that_were_lost_in_noisy_air_are_not_filled_up(tmp_path):
    ct = body() + np.random.default_rng(3).integers(1, 20, STRAIGHT.shape).astype(np.int16)
    path = write_zarr(tmp_path / "a.zarr", STRAIGHT, ct, chunks=(16, 8, 8), fill=-1000)
    (path / "0" / "c" / "0" / "0" / "0").unlink()
    assert refused(path).code == "missing-chunk"


@pytest.mark.parametrize("modality", [Modality.MASK, Modality.DOSE, Modality.MR])
def test_a_mask_or_dose_that_lost_a_chunk_is_not_smaller(tmp_path, modality):
    values = (body() > -500).astype(np.int16)
    path = write_zarr(tmp_path / "a.zarr", STRAIGHT, values, chunks=CHUNKS, fill=0)
    assert np.array_equal(read_scan(path, modality).array, values)
    (path / "0" / "c" / "1" / "1" / "1").unlink()
    with pytest.raises(DataError) as caught:
        read_scan(path, modality)
    assert caught.value.code == "missing-chunk"


def test_a_half_written_mr_is_not_read_as_dark(tmp_path):
    mr = np.where(body() > 0, 400, 0).astype(np.int16)
    whole = write_zarr(tmp_path / "a.zarr", STRAIGHT, mr, chunks=CHUNKS)
    assert np.array_equal(read_scan(whole, Modality.MR).array, mr)
    half = write_zarr(tmp_path / "b.zarr", STRAIGHT, mr, chunks=CHUNKS, only=np.s_[:16, :, :])
    assert refused(half, Modality.MR).code == "missing-chunk"


CODECS = {
    "v2 uncompressed": (2, None),
    "v2 zlib": (2, numcodecs.Zlib()),
    "v2 gzip": (2, numcodecs.GZip()),
    "v2 bz2": (2, numcodecs.BZ2()),
    "v2 lzma": (2, numcodecs.LZMA()),
    "v2 lz4": (2, numcodecs.LZ4()),
    "v2 zstd": (2, numcodecs.Zstd()),
    "v2 blosc lz4": (2, numcodecs.Blosc("lz4", shuffle=1)),
    "v2 blosc zstd": (2, numcodecs.Blosc("zstd", shuffle=2)),
    "v3 uncompressed": (3, None),
    "v3 gzip": (3, zarr.codecs.GzipCodec()),
    "v3 zstd": (3, zarr.codecs.ZstdCodec()),
    "v3 zstd with checksum": (3, zarr.codecs.ZstdCodec(checksum=True)),
    "v3 blosc": (3, zarr.codecs.BloscCodec()),
    "v3 blosc zlib": (3, zarr.codecs.BloscCodec(cname="zlib", shuffle="noshuffle")),
}
CUT_TO = (0.0, 0.01, 0.3, 0.5, 0.9, -1)
"""Share of the bytes that is left; -1: all but the last byte."""


@shows_refusal(OME_ZARR, "a chunk whose file was cut short", "damaged-chunk")
@pytest.mark.parametrize(("version", "codec"), CODECS.values(), ids=CODECS)
@pytest.mark.parametrize("fill", [0, -1000])
def test_a_chunk_that_was_cut_short_is_neither_air_nor_a_crash(tmp_path, version, codec, fill):
    values = points.image(STRAIGHT)
    path = write_zarr(tmp_path / "a.zarr", STRAIGHT, values, version=version, chunks=CHUNKS,
                      fill=fill, codec=codec)  # fmt: skip
    assert np.array_equal(read_scan(path, Modality.CT).array, values)
    chunk = path / "0" / ("1/1/1" if version == 2 else "c/1/1/1")
    whole = chunk.read_bytes()
    for keep in CUT_TO:
        chunk.write_bytes(whole[: int(keep * len(whole))] if keep >= 0 else whole[:-1])
        fault = refused(path)
        assert fault.code == "damaged-chunk", (keep, str(fault))
        assert "1/1/1" in f"{fault.where} {fault.problem}"
    chunk.write_bytes(whole + whole[:7])
    try:
        same = read_scan(path, Modality.CT).array
    except DataError:
        return
    assert np.array_equal(same, values)  # a codec that knows its end ignores what follows


@pytest.mark.parametrize("location", ["start", "end"])
@pytest.mark.parametrize("summed", [True, False])
@pytest.mark.parametrize("codec", [None, zarr.codecs.BloscCodec(), zarr.codecs.GzipCodec()])
def test_a_shard_that_was_cut_is_refused(tmp_path, codec, location, summed):
    sums = [zarr.codecs.BytesCodec(), *([zarr.codecs.Crc32cCodec()] if summed else [])]
    path = write_zarr(tmp_path / "a.zarr", STRAIGHT, points.image(STRAIGHT), chunks=CHUNKS)
    inner = [zarr.codecs.BytesCodec(), *([codec] if codec else [])]
    shutil.rmtree(path / "0")
    level = zarr.create_array(
        str(path / "0"), shape=STRAIGHT.shape, chunks=(32, 64, 64), dtype="i2", compressors=None,
        serializer=zarr.codecs.ShardingCodec(
            chunk_shape=CHUNKS, codecs=inner, index_codecs=sums, index_location=location
        ),
    )  # fmt: skip
    level[:] = points.image(STRAIGHT)
    assert np.array_equal(read_scan(path, Modality.CT).array, points.image(STRAIGHT))
    (shard,) = [file for file in path.rglob("*") if file.is_file() and file.suffix != ".json"]
    whole = shard.read_bytes()
    for keep in (0, 10, len(whole) // 3, len(whole) // 2, len(whole) - 300, len(whole) - 1):
        shard.write_bytes(whole[:keep])
        assert refused(path).code in ("damaged", "damaged-chunk", "missing-chunk")


@shows_read(OME_ZARR, "the layout of bioformats2raw with one image", "that image")
@shows_refusal(OME_ZARR, "the layout of bioformats2raw with several images", "several-series")
@pytest.mark.parametrize("version", [2, 3])
def test_the_one_image_of_a_bioformats2raw_root_is_read(tmp_path, version):
    root = tmp_path / "a.zarr"
    group = zarr.open_group(str(root), mode="w", zarr_format=version)
    if version == 2:
        group.attrs["bioformats2raw.layout"] = 3
    else:
        group.attrs["ome"] = {"version": "0.5", "bioformats2raw.layout": 3}
    write_zarr(root / "0", STRAIGHT, points.image(STRAIGHT), version=version, chunks=CHUNKS)
    assert points.worst(read_scan(root, Modality.CT)) <= 0.5
    (row,) = find(tmp_path)
    assert (row.place, row.error) == ("a.zarr", None)
    write_zarr(root / "1", STRAIGHT, points.image(STRAIGHT), version=version, chunks=CHUNKS)
    assert refused(root).code == "several-series"


@shows_refusal(OME_ZARR, "an image outside the folder", "path-traversal")
def test_a_bioformats2raw_root_leads_nowhere_else(tmp_path):
    root = tmp_path / "a.zarr"
    zarr.open_group(str(root), mode="w", zarr_format=2).attrs["bioformats2raw.layout"] = 3
    write_zarr(tmp_path / "other", STRAIGHT, points.image(STRAIGHT), chunks=CHUNKS)
    (root / "OME").mkdir()
    (root / "OME" / ".zattrs").write_text(json.dumps({"series": ["../other"]}))
    assert refused(root).code == "path-traversal"


@shows_read(OME_ZARR, "labels beside the image", "ignored")
def test_labels_beside_an_image_are_no_second_scan(tmp_path):
    path = write_zarr(tmp_path / "a.zarr", STRAIGHT, points.image(STRAIGHT), chunks=CHUNKS)
    (path / "labels").mkdir()
    write_zarr(path / "labels" / "ct", STRAIGHT, points.image(STRAIGHT), chunks=CHUNKS)
    assert [row.place for row in find(tmp_path)] == ["a.zarr"]


def test_all_turns_are_different():
    assert len({turn.tobytes() for turn in points.TURNS}) == 48
    pairs = itertools.combinations(points.TURNS[:6], 2)
    assert not any(np.array_equal(one, other) for one, other in pairs)


@shows_refusal(NIFTI, "NIfTI-2, or a pair of `.hdr` and `.img`", "variant-not-read")
@shows_refusal(METAIMAGE, "voxels as text, or a second header", "variant-not-read")
@shows_refusal(NRRD, "an encoding other than raw and gzip, or bytes to skip", "variant-not-read")
@pytest.mark.parametrize(
    ("name", "change", "wanted"),
    [
        ("a.mha", (b"BinaryData = True", b"BinaryData = False"), "binary voxels"),
        ("a.mha", (b"BinaryData =", b"HeaderSize = -1\nBinaryData ="), "no other header"),
        ("a.nrrd", (b"encoding: raw", b"encoding: bzip2"), "raw or gzip"),
        ("a.nrrd", (b"encoding: raw", b"byte skip: -1\nencoding: raw"), "no bytes to skip"),
        ("a.nii", (struct.pack("<i", 348), struct.pack("<i", 540)), "NIfTI-1"),
        ("a.nii", (b"n+1\0", b"ni1\0"), "NIfTI-1"),
    ],
)
def test_a_legal_variant_that_is_not_read_is_not_to_be_copied_again(tmp_path, name, change, wanted):
    write = {"a.mha": write_mha, "a.nrrd": write_nrrd, "a.nii": write_nifti}[name]
    path = write(tmp_path / name, WHERE, VALUES)
    path.write_bytes(path.read_bytes().replace(*change, 1))
    error = refused(path)
    assert error.code == "variant-not-read"
    assert wanted in error.remedy
