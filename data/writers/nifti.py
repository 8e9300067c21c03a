"""NIfTI-1 as ITK writes it, with the exact affine added."""

from __future__ import annotations

import contextlib
import gzip
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import SimpleITK as sitk

from synthct.data.exact_affine import HEADER_BYTES, extension

_OFFSET_FIELD, _FIRST_VOXEL = 108, 352
_LEVEL = 6


def add_exact_affine(plain: Path, image: sitk.Image, target: Path) -> None:
    """Copy an uncompressed NIfTI file to ``target``, compressed where that ends in ``.gz``.

    Every byte follows from the image: the gzip header holds no time and no name.
    """
    columns = np.asarray(image.GetDirection()).reshape(3, 3) * np.asarray(image.GetSpacing())
    extra = extension(columns.tolist(), image.GetOrigin())
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
