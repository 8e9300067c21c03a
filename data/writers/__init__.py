"""Image files for other programs, replaced in one step; NIfTI-1 with an exact affine added."""

from __future__ import annotations

import contextlib
import gzip
import os
import shutil
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import SimpleITK as sitk

from synthct.data.affine import HEADER_BYTES, exact_affine_extension
from synthct.data.errors import MachineError, UsageError
from synthct.data.itk import displacement_to_itk, in_folder, to_itk
from synthct.data.volume import Displacement, Volume

SUFFIXES = (".mha", ".nii.gz", ".nii", ".nrrd")
"""File formats by suffix; ``.mha``, ``.nii.gz`` and ``.nrrd`` are written compressed."""


def write_image(path: Path, volume: Volume, *, compress: bool = True) -> None:
    """Write a volume in the format that the suffix names, replacing the file in one step.

    Voxels and positions are kept exactly: NIfTI-1 holds its affine in 32 bits, so the exact one is
    added in a header extension (:mod:`synthct.data.affine`).

    Parameters
    ----------
    path
        A file name that ends in one of ``SUFFIXES``; parent folders are made.
    volume
        Array (Z, Y, X) on its grid.
    compress
        False for files that are read once and removed; ``.nii`` is never compressed, ``.nii.gz``
        always.

    Raises
    ------
    UsageError
        ``unknown-suffix``.
    MachineError
        ``disk-full``: the file could not be written completely.
    """
    _write(to_itk(volume), path, compress)


def write_displacement_image(path: Path, displacement: Displacement) -> None:
    """Write a displacement as a vector image: ITK's order (x, y, z) [mm], LPS, float32."""
    _write(displacement_to_itk(displacement, np.float32), path, True)


def suffix_of(path: Path) -> str:
    """The one of ``SUFFIXES`` that the file name ends in; another raises."""
    for suffix in SUFFIXES:
        if path.name.lower().endswith(suffix):
            return suffix
    raise UsageError(
        f"the name {path.name} has another suffix",
        rule="an image file ends in " + ", ".join(SUFFIXES),
        where=str(path),
        remedy="give the output another suffix",
        code="unknown-suffix",
    )


def _write(image: sitk.Image, path: Path, compress: bool) -> None:
    suffix = suffix_of(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        # ITK picks the format from the name, so the temporary file keeps the suffix.
        building = Path(folder) / f"image{suffix}"
        nifti = suffix in (".nii", ".nii.gz")
        plain = Path(folder) / "plain.nii" if nifti else building
        try:
            with in_folder(Path(folder)) as itk_folder:
                sitk.WriteImage(image, f"{itk_folder}/{plain.name}", compress and not nifti)
            if nifti:
                _require_whole(plain, image, path)
                add_exact_affine(plain, image, building)
        except (RuntimeError, OSError) as error:  # ITK raises RuntimeError on a full disk
            raise _unwritten(
                path, f"writing failed: {' '.join(str(error).split())[-120:]}"
            ) from error
        with building.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(building, path)


def _require_whole(file: Path, image: sitk.Image, path: Path) -> None:
    """ITK's NIfTI writer truncates a file on a full disk without an error: count the bytes."""
    voxels = image.GetNumberOfPixels() * image.GetNumberOfComponentsPerPixel()
    expected, found = voxels * image.GetSizeOfPixelComponent(), file.stat().st_size
    if found < expected:
        raise _unwritten(path, f"only {found} of {expected} bytes were written")


def _unwritten(path: Path, problem: str) -> MachineError:
    return MachineError(
        problem,
        where=str(path),
        rule="an image file is written completely",
        remedy="free disk space and run the same command again",
        code="disk-full",
    )


_OFFSET_FIELD, _FIRST_VOXEL = 108, 352
_LEVEL = 6


def add_exact_affine(plain: Path, image: sitk.Image, target: Path) -> None:
    """Copy an uncompressed NIfTI file to ``target``, compressed where that ends in ``.gz``.

    Every byte follows from the image: the gzip header holds no time and no name.
    """
    columns = np.asarray(image.GetDirection()).reshape(3, 3) * np.asarray(image.GetSpacing())
    extra = exact_affine_extension(columns.tolist(), image.GetOrigin())
    with plain.open("rb") as source, _opened(target) as file:
        header = bytearray(source.read(HEADER_BYTES))
        struct.pack_into("<f", header, _OFFSET_FIELD, float(HEADER_BYTES + len(extra)))
        file.write(bytes(header) + extra)
        source.seek(_FIRST_VOXEL)
        shutil.copyfileobj(source, file, 1 << 20)


@contextlib.contextmanager
def _opened(target: Path) -> Iterator[BinaryIO]:
    with target.open("wb") as raw:
        if not target.name.endswith(".gz"):
            yield raw
            return
        with gzip.GzipFile("", "wb", _LEVEL, raw, mtime=0) as packed:
            yield packed  # type: ignore[misc]
