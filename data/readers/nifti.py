"""NIfTI-1 single files (``.nii``, ``.nii.gz``), read strictly: RAS affine to LPS, no shear.

Header layout: NIfTI-1.1 standard, ``nifti1.h``.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthct.data.affine import (
    HEADER_BYTES,
    MAX_HEADER_BYTES,
    RAS_TO_LPS,
    exact_affine_in,
    grid_from_columns,
)
from synthct.data.errors import DataError
from synthct.data.readers.checks import MAX_BYTES, checked_shape
from synthct.data.readers.payload import inflated_voxels, raw_voxels, rescaled, variant_not_read
from synthct.data.volume import Grid, Modality, Volume

FORMS_AGREE_MM = 0.05
"""Largest distance of a corner voxel between qform and sform that rounding explains, beside what
the quaternion cannot hold."""

QUATERNION_PRECISION = 5e-7
"""Error of ``1 - b² - c² - d²`` from three 32-bit numbers that were computed in 32 bits."""

HALF_TURN = 1e-7
"""Below it ``a² = 1 - b² - c² - d²`` is rounding, and the turn is half a turn: the rule of the
format's reference implementation (nifti_quatern_to_mat44), which ITK follows."""

SPACING_AGREES = 1e-3
"""Largest relative difference of pixdim from the step lengths of the sform."""

ROUNDED = 1e-6
"""Relative difference that rounding to 32 bits explains, with room for unit conversion."""

_KINDS = {
    2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4",
    1024: "i8", 1280: "u8",
}  # fmt: skip
NIFTI_2 = 540
"""First number of a NIfTI-2 header: its size in bytes."""

ONE_FILE = "voxels in the same file, as NIfTI-1 (.nii.gz)"
_MILLIMETRES = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}


@dataclass(frozen=True, eq=False)
class NiftiHeader:
    """The parsed header of 348 bytes."""

    grid: Grid
    dtype: np.dtype[Any]
    offset: int
    slope: float
    intercept: float


def read_nifti(path: Path, modality: Modality) -> Volume:
    """Read and check a NIfTI-1 file."""
    header, compressed = _header(path)
    shape, dtype = header.grid.shape, header.dtype
    if compressed:
        pixels = inflated_voxels(path, 0, shape, dtype, gzip=True, skip=header.offset)
    else:
        pixels = raw_voxels(path, header.offset, shape, dtype)
    return Volume(rescaled(pixels, header.slope, header.intercept), header.grid, modality)


def read_nifti_header(path: Path) -> NiftiHeader:
    """Read the header only."""
    return _header(path)[0]


def _header(path: Path) -> tuple[NiftiHeader, bool]:
    with path.open("rb") as file:
        start = file.read(1 << 16)
    compressed = start[:2] == b"\x1f\x8b"
    return parse_header(
        _first_bytes(start, str(path)) if compressed else start, str(path)
    ), compressed


def _first_bytes(compressed: bytes, where: str) -> bytes:
    try:
        return zlib.decompressobj(16 + zlib.MAX_WBITS).decompress(compressed, MAX_HEADER_BYTES)
    except zlib.error as error:
        raise _broken(where, f"the gzip stream is damaged ({error})") from error


def parse_header(data: bytes, where: str) -> NiftiHeader:
    """Check every header field that voxels and geometry depend on."""
    if len(data) < HEADER_BYTES:
        raise _broken(where, f"the file has only {len(data)} bytes")
    order = next((o for o in "<>" if struct.unpack_from(o + "i", data)[0] == HEADER_BYTES), None)
    if order is not None and data[344:348] == b"ni1\0":
        raise variant_not_read(where, "it is the header of a .hdr/.img pair", ONE_FILE)
    if struct.pack("<i", NIFTI_2) in (data[:4], data[3::-1]):
        raise variant_not_read(where, "it is NIfTI-2", ONE_FILE)
    if order is None or data[344:348] != b"n+1\0":
        raise _broken(
            where,
            "the file is not NIfTI-1",
        )
    dim = struct.unpack_from(order + "8h", data, 40)
    datatype, bits = struct.unpack_from(order + "2h", data, 70)
    pixdim = struct.unpack_from(order + "8f", data, 76)
    offset, slope, intercept = struct.unpack_from(order + "3f", data, 108)
    if datatype not in _KINDS or np.dtype(_KINDS[datatype]).itemsize * 8 != bits:
        raise _broken(where, f"the data type {datatype} of {bits} bits is not supported")
    dtype = np.dtype(order + _KINDS[datatype])
    shape = checked_shape(_shape(dim, where), dtype, where)
    scale_mm = _MILLIMETRES.get(data[123] & 7)
    if scale_mm is None:
        raise _broken(where, f"the unit of length {data[123] & 7} is unknown")
    if not (offset >= HEADER_BYTES and offset.is_integer() and offset < MAX_BYTES):
        raise _broken(where, f"the voxels cannot start at byte {offset}")
    columns, origin = _affine(data, order, pixdim, shape, where)
    columns, origin = _exact(data, order, columns * scale_mm, origin * scale_mm, where)
    grid = grid_from_columns(shape, columns, origin.tolist(), where)
    slope, intercept = _scaling(slope, intercept, where)
    return NiftiHeader(grid, dtype, int(offset), slope, intercept)


def _shape(dim: tuple[int, ...], where: str) -> tuple[int, ...]:
    if not 1 <= dim[0] <= 7 or min(dim[1 : dim[0] + 1]) < 1:
        raise _broken(where, f"the dimensions {dim} are invalid")
    if any(size != 1 for size in dim[4 : dim[0] + 1]):
        raise DataError(
            f"the image has {dim[0]} axes, {dim[1 : dim[0] + 1]}",
            where=where,
            rule="a scan has one value per voxel",
            remedy="give one time point or component per file",
            code="not-3d",
        )
    return tuple(reversed(dim[1 : min(dim[0], 3) + 1]))


def _scaling(slope: float, intercept: float, where: str) -> tuple[float, float]:
    if slope == 0:  # "no scaling" in the standard
        return 1.0, 0.0
    if np.isnan(slope) and (np.isnan(intercept) or intercept == 0):
        return 1.0, 0.0  # how nibabel and what builds on it leave scaling unset
    if not np.isfinite([slope, intercept]).all():
        raise _broken(where, f"the scaling {slope} x + {intercept} is not finite")
    return slope, intercept


def _affine(
    data: bytes, order: str, pixdim: tuple[float, ...], shape: tuple[int, ...], where: str
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Columns and origin in LPS, in the header's unit of length."""
    q_code, s_code = struct.unpack_from(order + "2h", data, 252)
    if q_code <= 0 and s_code <= 0:
        raise DataError(
            "the header has neither sform nor qform",
            where=where,
            rule="a NIfTI file has an orientation (sform or qform)",
            remedy="export it again with an orientation, or give the DICOM series",
            code="no-orientation",
        )
    qform = _qform(data, order, pixdim, where) if q_code > 0 else None
    sform = _sform(data, order, pixdim, where) if s_code > 0 else None
    if qform is not None and sform is not None:
        turned = np.array(struct.unpack_from(order + "3f", data, 256))
        _require_agreement(qform, sform, shape, _uncertain(turned), where)
    chosen = sform if sform is not None else qform
    assert chosen is not None
    return RAS_TO_LPS @ chosen[:, :3], RAS_TO_LPS @ chosen[:, 3]


def _exact(
    data: bytes, order: str, columns: NDArray[Any], origin: NDArray[Any], where: str
) -> tuple[NDArray[Any], NDArray[Any]]:
    """The affine of our own extension, which must round to the one in the header."""
    try:
        rows = exact_affine_in(data, order)
    except ValueError as error:
        raise _broken(where, f"the exact affine cannot be read ({error})") from error
    if rows is None:
        return columns, origin
    exact = np.array(rows)
    rounded = np.column_stack([columns, origin])
    if not np.allclose(exact, rounded, rtol=ROUNDED, atol=ROUNDED * np.abs(exact).max()):
        raise _broken(where, "the exact affine contradicts the one in the header")
    return exact[:, :3], exact[:, 3]


def _sform(data: bytes, order: str, pixdim: tuple[float, ...], where: str) -> NDArray[Any]:
    sform = np.array(struct.unpack_from(order + "12f", data, 280), dtype=float).reshape(3, 4)
    steps = np.linalg.norm(sform[:, :3], axis=0)
    if not np.allclose(steps, np.abs(pixdim[1:4]), rtol=SPACING_AGREES):
        raise _broken(where, f"the sform has steps {steps.tolist()}, pixdim {pixdim[1:4]}")
    return sform


def _qform(data: bytes, order: str, pixdim: tuple[float, ...], where: str) -> NDArray[Any]:
    b, c, d, x, y, z = struct.unpack_from(order + "6f", data, 256)
    rest = 1.0 - (b * b + c * c + d * d)
    if not np.isfinite([b, c, d]).all() or rest < -1e-5 or pixdim[0] not in (-1.0, 0.0, 1.0):
        raise _broken(where, f"the quaternion ({b}, {c}, {d}) with qfac {pixdim[0]} is invalid")
    a = np.sqrt(rest) if rest >= HALF_TURN else 0.0
    if a == 0.0:
        b, c, d = np.array([b, c, d]) / np.sqrt(b * b + c * c + d * d)
    rotation = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )
    handed = -1.0 if pixdim[0] < 0 else 1.0
    steps = np.array([pixdim[1], pixdim[2], pixdim[3] * handed])
    return np.column_stack([rotation * steps, [x, y, z]])


def _uncertain(bcd: NDArray[Any]) -> float:
    """Angle [rad] that a qform may be off: near half turns rounding dominates.

    The file stores b, c, d in 32 bits; ``a = sqrt(1 - b² - c² - d²) = cos(angle / 2)``, so near
    half turns an error ``e`` of ``1 - a²`` changes the angle by up to ``2 sqrt(e)``.
    """
    rest = max(0.0, 1.0 - float(bcd @ bcd))
    low, high = max(0.0, rest - QUATERNION_PRECISION), rest + QUATERNION_PRECISION
    return 2 * float(np.sqrt(high) - np.sqrt(low))


def _require_agreement(
    qform: NDArray[Any],
    sform: NDArray[Any],
    shape: tuple[int, ...],
    uncertain: float,
    where: str,
) -> None:
    """Require equal corners, within the uncertainty of the qform; the more exact sform is used."""
    last = np.asarray(shape[::-1], dtype=float) - 1
    corners = np.array(np.meshgrid(*[(0.0, end) for end in last])).reshape(3, -1)
    apart = (qform - sform) @ np.vstack([corners, np.ones(corners.shape[1])])
    worst_mm = float(np.linalg.norm(apart, axis=0).max())
    size_mm = float(np.linalg.norm(sform[:, :3] @ last))
    if not worst_mm <= FORMS_AGREE_MM + uncertain * size_mm:
        raise DataError(
            f"qform and sform place the corners {worst_mm:.3g} mm apart",
            where=where,
            rule="qform and sform of a NIfTI file agree",
            remedy="set both to the true affine, or give the DICOM series",
            code="two-orientations",
        )


def _broken(where: str, problem: str) -> DataError:
    return DataError(
        problem,
        where=where,
        rule="a NIfTI file has a complete, consistent NIfTI-1 header",
        remedy="copy or export the file again",
        code="bad-header",
    )
