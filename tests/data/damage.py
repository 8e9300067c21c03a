"""Damage drawn uniformly: which format, how, where. Used by the tests and by the benchmark page.

Kinds: ``cut`` (the file ends early), ``length`` (bytes too many or too few in the middle),
``payload`` (one flipped bit in the voxels), ``header`` (one flipped bit before or between them).
"""

from __future__ import annotations

import shutil
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import gdcm
import numpy as np
import SimpleITK as sitk
import zarr

from synthct.data.errors import DataError
from synthct.data.itk import to_itk
from synthct.data.readers import read_scan
from synthct.data.store.volumes import write_volume
from synthct.data.volume import Grid, Modality, Volume
from synthct.data.writers import write_image
from synthct.data.writers.dicom import write_series

KINDS = ("cut", "length", "payload", "header")
CAUGHT, HARMLESS, WRONG = "caught", "harmless", "wrong"

_RNG = np.random.default_rng(1)
_C, _S = float(np.cos(0.35)), float(np.sin(0.35))
SCAN = Volume(
    _RNG.integers(-1024, 3072, (12, 20, 26)).astype(np.int16),
    Grid((12, 20, 26), (2.5, 0.9, 0.7), (-100.125, 20.25, -55.5),
         ((_C, 0.0, _S), (0.0, 1.0, 0.0), (-_S, 0.0, _C))),
    Modality.CT,
)  # fmt: skip


def _dicom(folder: Path) -> Path:
    return write_series(folder / "series", SCAN, patient_id="TEST", study="1",
                        series_description="s", uid_seed="t")[0].parent  # fmt: skip


def _recoded(syntax: int) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        path = _dicom(folder)
        for file in path.iterdir():
            reader = gdcm.ImageReader()
            reader.SetFileName(str(file))
            change = gdcm.ImageChangeTransferSyntax()
            change.SetTransferSyntax(gdcm.TransferSyntax(syntax))
            assert reader.Read()
            change.SetInput(reader.GetImage())
            assert change.Change()
            writer = gdcm.ImageWriter()
            writer.SetFileName(str(file))
            writer.SetFile(reader.GetFile())
            writer.SetImage(change.GetOutput())
            assert writer.Write()
        return path

    return write


def _zip(folder: Path) -> Path:
    path = folder / "series.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(_dicom(folder).iterdir()):
            archive.write(file, file.name)
    shutil.rmtree(folder / "series")
    return path


def _image(suffix: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        write_image(folder / f"scan{suffix}", SCAN)
        return folder / f"scan{suffix}"

    return write


def _plain_mha(folder: Path) -> Path:
    sitk.WriteImage(to_itk(SCAN), str(folder / "plain.mha"), False)
    return folder / "plain.mha"


def _store(folder: Path) -> Path:
    write_volume(folder / "scan.zarr", SCAN)
    return folder / "scan.zarr"


def _foreign_zarr(folder: Path) -> Path:
    path = folder / "scan.zarr"
    group = zarr.create_group(store=str(path), zarr_format=3)
    axes = [{"name": name, "type": "space", "unit": "millimeter"} for name in "zyx"]
    scale = {"type": "scale", "scale": list(SCAN.grid.spacing_mm)}
    datasets = [{"path": "0", "coordinateTransformations": [scale]}]
    group.attrs["ome"] = {"version": "0.5", "multiscales": [{"axes": axes, "datasets": datasets}]}
    level = group.create_array("0", shape=SCAN.array.shape, dtype="i2", chunks=(6, 20, 26))
    level[...] = SCAN.array
    return path


FORMATS: dict[str, Callable[[Path], Path]] = {
    "DICOM folder": _dicom,
    "DICOM zip": _zip,
    "MHA (zlib)": _image(".mha"),
    "NIfTI": _image(".nii"),
    "NIfTI (gzip)": _image(".nii.gz"),
    "NRRD (gzip)": _image(".nrrd"),
    "OME-Zarr (ours)": _store,
    "MHA": _plain_mha,
}
"""The eight of the promise."""

EXTRA: dict[str, Callable[[Path], Path]] = {
    "DICOM, JPEG 2000": _recoded(gdcm.TransferSyntax.JPEG2000Lossless),
    "DICOM, JPEG-LS": _recoded(gdcm.TransferSyntax.JPEGLSLossless),
    "DICOM, RLE": _recoded(gdcm.TransferSyntax.RLELossless),
    "DICOM, JPEG lossless": _recoded(gdcm.TransferSyntax.JPEGLosslessProcess14_1),
    "OME-Zarr (zarr's defaults)": _foreign_zarr,
}
"""Published beside them: compressed, but without a checksum, as their standards have it."""


@dataclass(frozen=True)
class Source:
    """A good source in one format, and what it reads as."""

    name: str
    path: Path
    scan: Volume


def make(name: str, folder: Path) -> Source:
    """Write the good source of a format below ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    path = {**FORMATS, **EXTRA}[name](folder)
    return Source(name, path, read_scan(path, Modality.CT))


def damaged(source: Source, kind: str, rng: np.random.Generator, folder: Path) -> Path:
    """A copy of the source with one file damaged."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    path = folder / source.path.name
    if source.path.is_file():
        shutil.copy(source.path, path)
        file = path
    else:
        shutil.copytree(source.path, path)
        files = sorted(one for one in path.rglob("*") if one.is_file())
        if source.name.startswith("OME-Zarr"):
            chunks = [one for one in files if one.suffix != ".json"]
            files = {"header": [one for one in files if one.suffix == ".json"],
                     "payload": chunks}.get(kind, files)  # fmt: skip
        file = files[int(rng.integers(len(files)))]
    file.write_bytes(_hurt(file.read_bytes(), kind, source.name, rng))
    return path


def _hurt(data: bytes, kind: str, name: str, rng: np.random.Generator) -> bytes:
    start = voxels_start(data, name)
    if kind == "cut":
        return data[: int(rng.integers(len(data)))]
    if kind == "length":
        at, count = int(rng.integers(len(data))), int(rng.integers(1, 65))
        if rng.integers(2):
            return data[:at] + rng.bytes(count) + data[at:]
        return data[:at] + data[at + count :]
    low, high = (0, start) if kind == "header" else (start, len(data))
    at = int(rng.integers(low, high))
    return data[:at] + bytes([data[at] ^ (1 << int(rng.integers(8)))]) + data[at + 1 :]


def voxels_start(data: bytes, name: str) -> int:
    """Where the header of a file ends."""
    if name.startswith("OME-Zarr"):
        return len(data) if data[:1] == b"{" else 0
    if name == "DICOM zip":
        return 30  # every byte of an archive lies under a checksum or beside one
    if name.startswith("DICOM"):
        return data.rindex(b"\xe0\x7f\x10\x00") + 12
    if name.startswith("MHA"):
        return data.index(b"LOCAL\n") + 6
    if name.startswith("NRRD"):
        return data.index(b"\n\n") + 2
    return 10 if "gzip" in name else int(struct.unpack_from("<f", data, 108)[0])


def outcome(source: Source, path: Path) -> str:
    """Whether the damage was caught, changed nothing, or went through."""
    try:
        found = read_scan(path, Modality.CT)
    except DataError:
        return CAUGHT
    same = (
        found.array.shape == source.scan.array.shape
        and np.array_equal(found.array, source.scan.array)
        and found.grid.is_close(source.scan.grid, 1e-3)
    )
    return HARMLESS if same else WRONG
