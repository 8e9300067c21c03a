"""MetaImage, NRRD and NIfTI."""

from __future__ import annotations

import functools
import gzip
import struct
import zlib

import numpy as np

from tests.data.hostile.base import canary, changed, collection, image

BUILDERS, hostile = collection()
ZEROS = bytes(1 << 20)


@functools.cache
def _bomb(gz=True, mebibytes=1024) -> bytes:
    pack = zlib.compressobj(1, zlib.DEFLATED, (16 if gz else 0) + 15)
    return b"".join([pack.compress(ZEROS) for _ in range(mebibytes)]) + pack.flush()


def _meta_external(name):
    def build(folder):
        return changed(folder, ".mha", (b"LOCAL", name(folder)))

    return build


def _nrrd_external(line):
    def build(folder):
        return changed(folder, ".nrrd", (b"\n\n", b"\n" + line(folder) + b"\n\n"))

    return build


BUILDERS |= {
    "mha_names_an_absolute_file": _meta_external(lambda f: str(canary(f)).encode()),
    "mha_names_a_file_above": _meta_external(lambda f: b"../canary.raw"),
    "mha_names_a_list": _meta_external(lambda f: b"LIST\n../canary.raw"),
    "mha_names_a_pattern": _meta_external(lambda f: b"../canary.%03d 1 6 1"),
    "mha_names_the_password_file": _meta_external(lambda f: b"/etc/passwd"),
    "mha_names_a_device": _meta_external(lambda f: b"/dev/zero"),
    "nrrd_names_an_absolute_file": _nrrd_external(lambda f: b"data file: " + bytes(canary(f))),
    "nrrd_names_a_file_above": _nrrd_external(lambda f: b"datafile: ../canary.raw"),
    "nrrd_names_a_list": _nrrd_external(lambda f: b"data file: LIST\n../canary.raw"),
    "nrrd_names_a_pattern": _nrrd_external(lambda f: b"data file: ../canary.%d 1 6 1"),
}


@hostile
def mhd_names_a_file_above(folder):
    path = _meta_external(lambda f: b"../canary.raw")(folder)
    return path.rename(path.with_suffix(".mhd"))


@hostile
def nhdr_without_voxels(folder):
    path = _nrrd_external(lambda f: b"data file: ../canary.raw")(folder)
    return path.rename(path.with_suffix(".nhdr"))


@hostile
def mha_of_absurd_size(folder):
    return changed(folder, ".mha", (b"DimSize = 10 8 6", b"DimSize = 99999 99999 99999"))


@hostile
def mha_whose_size_overflows(folder):
    return changed(folder, ".mha", (b"DimSize = 10 8 6", b"DimSize = 65536 65536 65536"))


@hostile
def mha_of_negative_size(folder):
    return changed(folder, ".mha", (b"DimSize = 10 8 6", b"DimSize = -10 -8 6"))


@hostile
def mha_of_endless_spacing(folder):
    return changed(folder, ".mha", (b"ElementSpacing = 1 1 3", b"ElementSpacing = 1e308 nan inf"))


@hostile
def mha_that_skips_backwards(folder):
    return changed(folder, ".mha", (b"DimSize", b"HeaderSize = -1\nDimSize"))


@hostile
def mha_header_without_end(folder):
    path = folder / "scan.mha"
    path.write_bytes(b"Comment = x\n" * 500_000)
    return path


@hostile
def mha_zlib_bomb(folder):
    path, data = image(folder, ".mha")
    start = data.index(b"LOCAL\n") + 6
    body = _bomb(gz=False)
    lines = [
        f"CompressedDataSize = {len(body)}".encode() if b"CompressedDataSize" in line else line
        for line in data[:start].split(b"\n")
    ]
    path.write_bytes(b"\n".join(lines) + body)
    return path


@hostile
def nrrd_of_absurd_size(folder):
    return changed(folder, ".nrrd", (b"sizes: 10 8 6", b"sizes: 999999 999999 999999"))


@hostile
def nrrd_of_a_number_without_end(folder):
    return changed(folder, ".nrrd", (b"sizes: 10 8 6", b"sizes: 10 8 " + b"9" * 20_000))


@hostile
def nrrd_gzip_bomb(folder):
    path, data = image(folder, ".nrrd")
    path.write_bytes(data[: data.index(b"\n\n") + 2] + _bomb())
    return path


@hostile
def nrrd_that_skips_backwards(folder):
    return changed(folder, ".nrrd", (b"\n\n", b"\nbyte skip: -1\n\n"))


@hostile
def nifti_gzip_bomb(folder):
    path, data = image(folder, ".nii.gz")
    path.write_bytes(gzip.compress(gzip.decompress(data)) + _bomb())
    return path


@hostile
def nifti_gzip_bomb_that_declares_its_size(folder):
    path = folder / "scan.nii.gz"
    header = bytearray(gzip.decompress(image(folder, ".nii.gz")[1])[:352])
    struct.pack_into("<8h", header, 40, 3, 16384, 16384, 16384, 1, 1, 1, 1)
    path.write_bytes(gzip.compress(bytes(header)) + _bomb())
    return path


def _nifti(offset, fmt, *values):
    def build(folder):
        path, data = image(folder, ".nii")
        header = bytearray(data)
        struct.pack_into(fmt, header, offset, *values)
        path.write_bytes(bytes(header))
        return path

    return build


BUILDERS |= {
    "nifti_of_absurd_size": _nifti(40, "<8h", 3, 32767, 32767, 32767, 1, 1, 1, 1),
    "nifti_of_negative_size": _nifti(40, "<8h", 3, -10, 8, 6, 1, 1, 1, 1),
    "nifti_of_seven_axes": _nifti(40, "<8h", 7, 10, 8, 6, 99, 99, 99, 99),
    "nifti_with_voxels_far_away": _nifti(108, "<f", 1e9),
    "nifti_with_voxels_before_it": _nifti(108, "<f", -352.0),
    "nifti_at_no_place": _nifti(280, "<4f", np.nan, np.inf, 0, 0),
    "nifti_of_a_pair": _nifti(344, "4s", b"ni1\0"),
}
