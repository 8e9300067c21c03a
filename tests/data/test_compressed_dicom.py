"""Compressed pixels decode to the same HU as the uncompressed series."""

from __future__ import annotations

import gdcm
import numpy as np
import pydicom
import pytest
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from synthct.data.errors import DataError
from synthct.data.readers import read_scan
from synthct.data.volume import Modality, Volume
from tests.fixtures.outcomes import DICOM, shows_read

GDCM_SYNTAXES = {
    "JPEG lossless": gdcm.TransferSyntax.JPEGLosslessProcess14_1,
    "JPEG-LS": gdcm.TransferSyntax.JPEGLSLossless,
    "JPEG 2000": gdcm.TransferSyntax.JPEG2000Lossless,
    "RLE": gdcm.TransferSyntax.RLELossless,
}


def recode(file, syntax) -> None:
    reader = gdcm.ImageReader()
    reader.SetFileName(str(file))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(syntax))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFileName(str(file))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()


@pytest.fixture(params=["CT", "signed MR"])
def plain(request, tmp_path, oblique, write_ct):
    kind = Modality.MR if request.param == "signed MR" else Modality.CT
    volume = Volume(oblique.array, oblique.grid, kind)
    return write_ct(tmp_path / "series", volume), volume


@shows_read(DICOM, "JPEG lossless, JPEG-LS, JPEG 2000 or RLE", "decoded without a change")
@pytest.mark.parametrize("name", sorted(GDCM_SYNTAXES))
def test_lossless_compression_changes_no_voxel(plain, name):
    files, volume = plain
    for file in files:
        recode(file, GDCM_SYNTAXES[name])
    assert pydicom.dcmread(files[0]).file_meta.TransferSyntaxUID.is_compressed
    assert np.array_equal(read_scan(files[0].parent).array, volume.array)


@shows_read(DICOM, "implicit or deflated encoding", "decoded without a change")
@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian])
def test_other_encodings_of_the_data_set_change_no_voxel(plain, syntax):
    files, volume = plain
    for file in files:
        dataset = pydicom.dcmread(file)
        dataset.file_meta.TransferSyntaxUID = syntax
        dataset.save_as(file, implicit_vr=syntax == ImplicitVRLittleEndian, little_endian=True)
    assert np.array_equal(read_scan(files[0].parent).array, volume.array)


def test_a_compressed_slice_that_ends_early_is_refused(series):
    for file in series:
        dataset = pydicom.dcmread(file)
        dataset.compress(RLELossless)
        dataset.save_as(file)
    whole = series[4].read_bytes()
    for length in range(len(whole) - 200, len(whole) - 8, 24):
        series[4].write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"0004\.dcm"):
            read_scan(series[0].parent)
