"""MetaImage with its voxels in the same file (``.mha``, or ``.mhd`` with LOCAL), read strictly."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthct.data.affine import grid_from_columns
from synthct.data.errors import DataError
from synthct.data.readers.checks import checked_shape, near_miss
from synthct.data.readers.payload import (
    damaged,
    inflated_voxels,
    raw_voxels,
    rescaled,
    variant_not_read,
)
from synthct.data.volume import Displacement, Grid, Modality, Volume

MAX_HEADER_BYTES = 1 << 16

CLEAR_AXIS = 0.8
"""Cosine above which an oblique axis clearly corresponds to one of the patient's axes."""

_KINDS = {
    "MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4",
    "MET_UINT": "u4", "MET_LONG": "i4", "MET_ULONG": "u4", "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8", "MET_FLOAT": "f4", "MET_DOUBLE": "f8",
}  # fmt: skip
_FUNCTION = ("ElementToIntensityFunctionSlope", "ElementToIntensityFunctionOffset")
_MATTERS = (
    *_FUNCTION, "DistanceUnits", "BinaryData", "BinaryDataByteOrderMSB", "CompressedData",
    "TransformMatrix", "Offset", "AnatomicalOrientation", "ElementNumberOfChannels", "HeaderSize",
)  # fmt: skip
"""Fields that change the voxels or their place and have a default."""

_SYNONYMS = {
    "Rotation": "TransformMatrix", "Orientation": "TransformMatrix", "Position": "Offset",
    "Origin": "Offset", "ElementByteOrderMSB": "BinaryDataByteOrderMSB",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class MetaImageHeader:
    """The parsed text header."""

    grid: Grid
    dtype: np.dtype[Any]
    channels: int
    compressed_bytes: int | None
    offset: int
    slope: float = 1.0
    intercept: float = 0.0


def read_metaimage(path: Path, modality: Modality) -> Volume:
    """Read and check a MetaImage file with one value a voxel."""
    header = read_metaimage_header(path)
    if header.channels != 1:
        raise _broken(str(path), f"the image has {header.channels} values per voxel, a scan one")
    values = rescaled(_payload(path, header), header.slope, header.intercept)
    return Volume(values, header.grid, modality)


def read_metaimage_displacement(path: Path) -> Displacement:
    """Read a vector image of ITK displacements (x, y, z) [mm]."""
    header = read_metaimage_header(path)
    if header.channels != 3 or (header.slope, header.intercept) != (1, 0):
        raise _broken(
            str(path), f"the image has {header.channels} values per voxel, a displacement three"
        )
    vectors = np.moveaxis(_payload(path, header), -1, 0)[::-1]
    return Displacement(np.ascontiguousarray(vectors, dtype=np.float32), header.grid)


def read_metaimage_header(path: Path) -> MetaImageHeader:
    """Read the header only."""
    with path.open("rb") as file:
        return parse_header(file.read(MAX_HEADER_BYTES), str(path))


def parse_header(data: bytes, where: str) -> MetaImageHeader:
    """Check every header field that voxels and geometry depend on."""
    fields, offset = _fields(data, where)
    if unknown := near_miss(fields, _MATTERS):
        raise _broken(
            where, f"the field {unknown[:40]!r} is unknown and almost the name of a known one"
        )
    if fields.get("ObjectType", "Image") != "Image":
        raise _broken(where, "the file is not an image")
    if not _flag(fields, "BinaryData", True, where):
        raise variant_not_read(where, "the voxels are text (BinaryData = False)", "binary voxels")
    if (size := fields.get("HeaderSize", "0")) != "0":
        raise variant_not_read(where, f"HeaderSize is {size}, not 0", "no other header")
    channels = int(_numbers(fields, "ElementNumberOfChannels", where, [1])[0])
    kind = _KINDS.get(fields.get("ElementType", "").removesuffix("_ARRAY"))
    if kind is None or not 1 <= channels <= 3:
        raise _broken(
            where,
            f"ElementType {fields.get('ElementType')} with {channels} channels is not supported",
        )
    big = _flag(fields, "BinaryDataByteOrderMSB", False, where)
    dtype = np.dtype((">" if big else "<") + kind)
    sizes = _numbers(fields, "DimSize", where)
    if not (sizes == np.rint(sizes)).all() or [sizes.size] != _numbers(fields, "NDims", where):
        raise _broken(
            where, f"NDims {fields.get('NDims')} contradicts DimSize {fields.get('DimSize')}"
        )
    space = _in_space(sizes, where)
    shape = checked_shape([int(size) for size in space[::-1]], dtype, where)
    grid, packed = _grid(fields, shape, sizes.size, where), _compressed(fields, where)
    return MetaImageHeader(grid, dtype, channels, packed, offset, *_intensity(fields, where))


def _in_space(sizes: NDArray[np.float64], where: str) -> NDArray[np.float64]:
    """The first three sizes, where all others are one frame."""
    if any(size != 1 for size in sizes[3:]):
        raise DataError(
            f"the image has {sizes.size} axes, {' x '.join(f'{size:.0f}' for size in sizes)}",
            where=where,
            rule="a scan has one value per voxel",
            remedy="give one time point or component per file",
            code="not-3d",
        )
    return sizes[:3]


def _intensity(fields: dict[str, str], where: str) -> tuple[float, float]:
    """Slope and offset from stored elements to physical values."""
    slope, offset = (
        float(_numbers(fields, name, where, [default])[0])
        for name, default in zip(_FUNCTION, (1.0, 0.0), strict=True)
    )
    if slope == 0:
        raise _broken(where, f"{_FUNCTION[0]} is 0")
    return slope, offset


def _fields(data: bytes, where: str) -> tuple[dict[str, str], int]:
    fields: dict[str, str] = {}
    names: set[str] = set()
    position = 0
    while "ElementDataFile" not in fields:
        end = data.find(b"\n", position)
        if end < 0:
            raise _broken(where, "the header has no ElementDataFile line")
        name, equals, value = data[position:end].decode("latin-1").partition("=")
        position = end + 1
        repeated = name.strip() in names
        names.add(name.strip())
        # Writers may repeat a field under a synonym, with the same value.
        name = _SYNONYMS.get(name.strip(), name.strip())
        if not equals or repeated or fields.get(name, value.strip()) != value.strip():
            raise _broken(where, f"the header line {name[:40]!r} is repeated or has no equals sign")
        fields[name] = value.strip()
    if fields["ElementDataFile"] != "LOCAL":
        raise DataError(
            f"the voxels are in another file, {fields['ElementDataFile'][:80]}",
            where=where,
            rule="a MetaImage holds its voxels itself (ElementDataFile = LOCAL)",
            remedy="save it as one .mha file",
            code="external-data",
        )
    return fields, position


_UNITS_MM = {"?": 1.0, "mm": 1.0, "um": 1e-3, "cm": 10.0}
"""MetaIO's names of the units of length [mm]."""


def _grid(fields: dict[str, str], shape: tuple[int, ...], axes: int, where: str) -> Grid:
    # As MetaIO does: voxels that have a size and no distance lie side by side.
    spaced = "ElementSpacing" in fields or "ElementSize" not in fields
    stated = "ElementSpacing" if spaced else "ElementSize"
    spacing = _numbers(fields, stated, where)
    origin = _numbers(fields, "Offset", where, [0] * axes)
    matrix = _numbers(fields, "TransformMatrix", where, np.eye(axes).ravel().tolist())
    unit = fields.get("DistanceUnits", "mm").lower()
    if unit not in _UNITS_MM:
        raise DataError(
            f"the unit of length is unknown: DistanceUnits {unit[:40]}",
            where=where,
            rule="the unit of length is known (DistanceUnits: mm, cm or um)",
            remedy="save it in millimetres, or give the DICOM series",
            code="unknown-unit",
        )
    if (spacing.size, origin.size, matrix.size) != (axes, axes, axes**2) or spacing.min() <= 0:
        raise _broken(where, f"spacing, offset or matrix do not have {axes} dimensions")
    matrix = matrix.reshape(axes, axes)
    if matrix[3:, :3].any() or matrix[:3, 3:].any():
        raise _broken(where, "TransformMatrix mixes spatial and other axes")
    spacing, origin = spacing[:3] * _UNITS_MM[unit], origin[:3] * _UNITS_MM[unit]
    # Row k of the file's matrix is the direction of index k: the transpose of ITK's.
    directions = matrix[:3, :3].T
    if not np.allclose(np.linalg.norm(directions, axis=0), 1, atol=1e-4):
        raise _broken(where, "the directions of TransformMatrix are not of unit length")
    _require_letters(fields.get("AnatomicalOrientation", ""), directions, where)
    return grid_from_columns(shape, directions * spacing, origin.tolist(), where)


_FROM = ("RL", "AP", "IS")
"""MetaIO's letters of the side at which an axis along +x, -x, +y, -y, +z, -z (LPS) starts."""


def _require_letters(letters: str, directions: NDArray[Any], where: str) -> None:
    """The orientation in letters, which ITK writes beside the matrix, agrees with it."""
    if len(letters) != 3 or not set(letters) <= set("".join(_FROM)):
        return  # "???" and the like: not stated
    axes = np.abs(directions).argmax(axis=0)
    if np.abs(directions).max(axis=0).min() < CLEAR_AXIS:
        return
    expected = "".join(_FROM[w][int(directions[w, k] < 0)] for k, w in enumerate(axes))
    if expected != letters:
        raise _broken(where, f"AnatomicalOrientation is {letters}, but the matrix is {expected}")


def _compressed(fields: dict[str, str], where: str) -> int | None:
    if not _flag(fields, "CompressedData", False, where):
        return None
    return int(_numbers(fields, "CompressedDataSize", where, [0])[0])


def _flag(fields: dict[str, str], name: str, default: bool, where: str) -> bool:
    value = fields.get(name, str(default)).lower()
    if value not in ("true", "false", "1", "0"):
        raise _broken(where, f"{name} is {value[:40]}, not True or False")
    return value in ("true", "1")


def _payload(path: Path, header: MetaImageHeader) -> NDArray[Any]:
    shape = header.grid.shape if header.channels == 1 else (*header.grid.shape, header.channels)
    if header.compressed_bytes is None:
        return raw_voxels(path, header.offset, shape, header.dtype)
    found = path.stat().st_size - header.offset
    if header.compressed_bytes not in (0, found):
        raise damaged(
            str(path),
            f"the compressed data has {found} bytes, not the declared {header.compressed_bytes}",
        )
    return inflated_voxels(path, header.offset, shape, header.dtype, gzip=False)


def _numbers(
    fields: dict[str, str], name: str, where: str, default: list[float] | None = None
) -> NDArray[np.float64]:
    text = fields.get(name)
    if text is None and default is not None:
        return np.array(default, dtype=float)
    if text is None:
        raise _broken(where, f"the header has no {name}")
    try:
        values = np.array([float(word) for word in text.split()])
    except ValueError:
        values = np.array([])
    if not values.size or not np.isfinite(values).all():
        raise _broken(where, f"{name} is {text}, not finite numbers")
    return values


def _broken(where: str, problem: str) -> DataError:
    return DataError(
        problem,
        where=where,
        rule="a MetaImage has a complete, consistent header",
        remedy="copy or export the file again",
        code="bad-header",
    )
