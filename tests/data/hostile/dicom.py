"""DICOM folders."""

from __future__ import annotations

import shutil
import struct
import zlib

import gdcm
import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEG2000Lossless, RLELossless

from tests.data.hostile.base import canary, collection, series

BUILDERS, hostile = collection()
SEQUENCE = struct.pack("<2H2sHI", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF)
ITEM = struct.pack("<2HI", 0xFFFE, 0xE000, 0xFFFFFFFF)


def _edit(folder, change, number=3):
    """A good series of which one file (or every one, ``number=None``) was changed as data set."""
    files = series(folder)
    for file in files if number is None else [files[number]]:
        dataset = pydicom.dcmread(file)
        change(dataset)
        dataset.save_as(file)
    return files[0].parent


def _bytes(folder, change, number=3):
    files = series(folder)
    files[number].write_bytes(change(files[number].read_bytes()))
    return files[0].parent


def _before_pixels(extra):
    def change(data):
        at = data.index(b"\xe0\x7f\x10\x00")
        return data[:at] + extra + data[at:]

    return change


@hostile
def a_link_out_of_the_folder(folder):
    files = series(folder)
    (files[0].parent / "0099.dcm").symlink_to(canary(folder))
    return files[0].parent


@hostile
def a_linked_folder_outside(folder):
    files = series(folder)
    (files[0].parent / "more").symlink_to(folder.parent, target_is_directory=True)
    return files[0].parent


@hostile
def a_link_to_a_device(folder):
    files = series(folder)
    (files[0].parent / "0099.dcm").symlink_to("/dev/zero")
    return files[0].parent


@hostile
def sequences_ten_thousand_deep(folder):
    def change(data):
        at = data.index(struct.pack("<2H", 0x0008, 0x1030)) if b"\x08\x00\x30\x10" in data else 0
        at = at or data.index(struct.pack("<2H", 0x0010, 0x0010))
        return data[:at] + (SEQUENCE + ITEM) * 10_000 + data[at:]

    return _bytes(folder, change)


@hostile
def sequences_deep_inside_a_tag_that_is_read(folder):
    deep = struct.pack("<2H2sHI", 0x5200, 0x9229, b"SQ", 0, 0xFFFFFFFF) + ITEM
    return _bytes(folder, _before_pixels(deep * 20_000))


@hostile
def four_gigabytes_of_pixels(folder):
    def change(data):
        at = data.index(b"\xe0\x7f\x10\x00")
        return data[: at + 8] + struct.pack("<I", 0xFFFFFFFE) + data[at + 12 :]

    return _bytes(folder, change)


@hostile
def four_gigabytes_in_a_tag_that_is_read(folder):
    tag = struct.pack("<2H2sHI", 0x3004, 0x000C, b"UT", 0, 0xFFFFFFF0)
    return _bytes(folder, _before_pixels(tag))


@hostile
def four_gigabytes_in_a_sequence(folder):
    tag = struct.pack("<2H2sHI", 0x5200, 0x9229, b"SQ", 0, 0xFFFFFFF0)
    tag += ITEM[:4] + b"\xf0\xff\xff\xff"
    return _bytes(folder, _before_pixels(tag))


@hostile
def rows_and_columns_of_65535(folder):
    def change(dataset):
        dataset.Rows = dataset.Columns = 65535

    return _edit(folder, change, None)


@hostile
def two_thousand_million_frames(folder):
    def change(dataset):
        dataset.NumberOfFrames = 2147483647

    return _edit(folder, change, None)


@hostile
def sixty_four_bits_a_pixel(folder):
    def change(dataset):
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 64, 64, 63

    return _edit(folder, change, None)


@hostile
def a_fragment_of_four_gigabytes(folder):
    def change(dataset):
        dataset.compress(RLELossless)
        data = bytearray(dataset.PixelData)
        struct.pack_into("<I", data, 12, 0xFFFFFF00)
        dataset.PixelData = bytes(data)

    return _edit(folder, change)


@hostile
def an_rle_header_that_points_outside(folder):
    def change(dataset):
        dataset.compress(RLELossless)
        data = bytearray(dataset.PixelData)
        struct.pack_into("<3I", data, 16, 2, 0xFFFFFFF0, 0x7FFFFFFF)
        dataset.PixelData = bytes(data)

    return _edit(folder, change)


@hostile
def a_jpeg_2000_of_absurd_size(folder):
    files = series(folder)
    reader = gdcm.ImageReader()
    reader.SetFileName(str(files[3]))
    assert reader.Read()
    recode = gdcm.ImageChangeTransferSyntax()
    recode.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEG2000Lossless))
    recode.SetInput(reader.GetImage())
    assert recode.Change()
    writer = gdcm.ImageWriter()
    writer.SetFileName(str(files[3]))
    writer.SetFile(reader.GetFile())
    writer.SetImage(recode.GetOutput())
    assert writer.Write()
    data = bytearray(files[3].read_bytes())
    at = data.index(b"\xff\x51")  # SIZ: the size that the decoder believes
    struct.pack_into(">4I", data, at + 6, 60000, 60000, 0, 0)
    struct.pack_into(">2I", data, at + 22, 60000, 60000)
    files[3].write_bytes(bytes(data))
    return files[0].parent


@hostile
def a_jpeg_2000_of_noise(folder):
    def change(dataset):
        noise = np.random.default_rng(0).bytes(4000)
        dataset.PixelData = encapsulate([b"\xff\x4f\xff\x51" + noise])
        dataset["PixelData"].is_undefined_length = True
        dataset.file_meta.TransferSyntaxUID = JPEG2000Lossless

    return _edit(folder, change)


@hostile
def a_deflate_bomb(folder):
    files = series(folder)
    dataset = pydicom.dcmread(files[3])
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.save_as(files[3], implicit_vr=False, little_endian=True)
    data = files[3].read_bytes()
    plain = pydicom.dcmread(files[3])
    start = 132 + 12 + plain.file_meta.FileMetaInformationGroupLength
    pack = zlib.compressobj(1, zlib.DEFLATED, -15)
    big = [pack.compress(struct.pack("<2H2sHI", 0x0009, 0x1001, b"OB", 0, 0xF0000000))]
    big += [pack.compress(bytes(1 << 24)) for _ in range(100)]
    files[3].write_bytes(data[:start] + b"".join(big) + pack.flush())
    return files[0].parent


@hostile
def a_file_that_is_only_a_preamble(folder):
    return _bytes(folder, lambda data: data[:132])


@hostile
def enhanced_frames_without_their_groups(folder):
    def change(dataset):
        dataset.NumberOfFrames = 100_000
        dataset.PerFrameFunctionalGroupsSequence = [Dataset() for _ in range(3)]

    path = _edit(folder, change)
    keep = folder / "one"
    keep.mkdir()
    shutil.copy(sorted(path.iterdir())[3], keep)
    return keep


@hostile
def a_dose_of_absurd_size(folder):
    def change(dataset):
        dataset.Modality = "RTDOSE"
        dataset.NumberOfFrames = 16384
        dataset.Rows = dataset.Columns = 16384
        dataset.GridFrameOffsetVector = [float(number) for number in range(16384)]
        dataset.DoseGridScaling, dataset.DoseUnits = 1e-3, "GY"

    path = _edit(folder, change)
    keep = folder / "one"
    keep.mkdir()
    shutil.copy(sorted(path.iterdir())[3], keep)
    return keep
