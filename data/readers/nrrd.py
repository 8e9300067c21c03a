"""NRRD with its voxels in the same file (``.nrrd``), read strictly.

Field names: the NRRD file format, teem.sourceforge.net/nrrd/format.html.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthct.data.affine import RAS_TO_LPS, grid_from_columns
from synthct.data.errors import DataError
from synthct.data.readers.checks import checked_shape, near_miss
from synthct.data.readers.payload import inflated_voxels, raw_voxels, variant_not_read
from synthct.data.volume import Grid, Modality, Volume

MAX_HEADER_BYTES = 1 << 16

_KINDS = {
    "i1": ("signed char", "int8", "int8_t"),
    "u1": ("uchar", "unsigned char", "uint8", "uint8_t"),
    "i2": ("short", "short int", "signed short", "signed short int", "int16", "int16_t"),
    "u2": ("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"),
    "i4": ("int", "signed int", "int32", "int32_t"),
    "u4": ("uint", "unsigned int", "uint32", "uint32_t"),
    "i8": ("longlong", "long long", "long long int", "int64", "int64_t"),
    "u8": ("ulonglong", "unsigned long long", "uint64", "uint64_t"),
    "f4": ("float",),
    "f8": ("double",),
}
_OTHER_ENCODINGS = ("ascii", "text", "txt", "hex", "bzip2", "bz2")
_MATTERS = ("space origin", "space units", "line skip", "byte skip", "data file", "datafile")
"""Fields that change the voxels or their place and may be absent."""

_LPS = np.eye(3)
_SPACES = {
    "left-posterior-superior": _LPS, "lps": _LPS,
    "right-anterior-superior": RAS_TO_LPS, "ras": RAS_TO_LPS,
    "left-anterior-superior": np.diag([1.0, -1.0, 1.0]), "las": np.diag([1.0, -1.0, 1.0]),
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class NrrdHeader:
    """The parsed text header."""

    grid: Grid
    dtype: np.dtype[Any]
    gzip: bool
    offset: int


def read_nrrd(path: Path, modality: Modality) -> Volume:
    """Read and check an attached NRRD file."""
    header = read_nrrd_header(path)
    shape, dtype = header.grid.shape, header.dtype
    if header.gzip:
        array = inflated_voxels(path, header.offset, shape, dtype, gzip=True)
    else:
        array = raw_voxels(path, header.offset, shape, dtype)
    return Volume(array, header.grid, modality)


def read_nrrd_header(path: Path) -> NrrdHeader:
    """Read the header only."""
    with path.open("rb") as file:
        return parse_header(file.read(MAX_HEADER_BYTES), str(path))


def parse_header(data: bytes, where: str) -> NrrdHeader:
    """Check every header field that voxels and geometry depend on."""
    fields, offset = _fields(data, where)
    if unknown := near_miss(fields, _MATTERS):
        raise _broken(
            where, f"the field {unknown[:40]!r} is unknown and almost the name of a known one"
        )
    kind = next((k for k, names in _KINDS.items() if fields.get("type") in names), None)
    encoding = fields.get("encoding")
    if kind is not None and encoding in _OTHER_ENCODINGS:
        raise variant_not_read(where, f"the encoding is {encoding}", "the encoding raw or gzip")
    if kind is None or encoding not in ("raw", "gzip", "gz"):
        raise _broken(where, f"type {fields.get('type')} with encoding {encoding} is not supported")
    endian = fields.get("endian", "little" if kind.endswith("1") else "")
    if endian not in ("little", "big"):
        raise _broken(where, f"endian is {endian or 'missing'}")
    for skip in ("line skip", "lineskip", "byte skip", "byteskip"):
        if fields.get(skip, "0") != "0":
            raise variant_not_read(where, f"{skip} is {fields[skip]}, not 0", "no bytes to skip")
    dtype = np.dtype(("<" if endian == "little" else ">") + kind)
    sizes = fields.get("sizes", "").split()
    if fields.get("dimension") != str(len(sizes)) or not all(size.isdigit() for size in sizes):
        raise _broken(where, f"dimension {fields.get('dimension')} contradicts sizes {sizes}")
    vectors = _directions(fields, [int(size) for size in sizes], where)
    shape = checked_shape([size for size, _ in reversed(vectors)], dtype, where)
    columns = np.array([vector for _, vector in vectors]).T
    return NrrdHeader(_grid(fields, shape, columns, where), dtype, encoding != "raw", offset)


def _fields(data: bytes, where: str) -> tuple[dict[str, str], int]:
    if not re.match(rb"NRRD000[1-5]\r?\n", data):
        raise _broken(where, "the file does not start like NRRD")
    end = re.search(rb"\n\r?\n", data)
    if end is None:
        raise _broken(where, "no empty line ends the header")
    fields: dict[str, str] = {}
    for line in data[: end.start()].decode("latin-1").splitlines()[1:]:
        if line.startswith("#") or ":=" in line:
            continue
        name, colon, value = line.partition(":")
        name = name.strip().lower()
        if not colon or name in fields:
            raise _broken(where, f"the header line {name[:40]!r} is repeated or has no colon")
        fields[name] = value.strip() if name in _CASED else value.strip().lower()
    if "data file" in fields or "datafile" in fields:
        raise DataError(
            f"the voxels are in another file, "
            f"{fields.get('data file', fields.get('datafile', ''))[:80]}",
            where=where,
            rule="an NRRD file holds its voxels itself (no data file field)",
            remedy="save it attached, as one .nrrd file",
            code="external-data",
        )
    return fields, end.end()


_CASED = ("data file", "datafile", "content", "space units", "units")


def _grid(
    fields: dict[str, str], shape: tuple[int, ...], columns: NDArray[Any], where: str
) -> Grid:
    turn = _SPACES[fields["space"]] @ np.diag(_millimetres(fields, where))
    start = _vector(fields.get("space origin", "(0,0,0)"), where)
    return grid_from_columns(shape, turn @ columns, (turn @ start).tolist(), where)


def _directions(
    fields: dict[str, str], sizes: list[int], where: str
) -> list[tuple[int, NDArray[np.float64]]]:
    """Size and step of each axis in space; an axis of one element that is not spatial is left out.

    A fourth axis of one frame or one component has the direction ``none``.
    """
    if fields.get("space", "") not in _SPACES or "space directions" not in fields:
        raise DataError(
            f"the header has no space directions in a known space: space is "
            f"{fields.get('space', 'missing')}",
            where=where,
            rule="an NRRD file has an orientation (space, space directions)",
            remedy="export it again with an orientation, or give the DICOM series",
            code="no-orientation",
        )
    words = re.findall(r"none|\([^()]*\)", fields["space directions"])
    if len(words) != len(sizes):
        raise _broken(
            where, f"space directions {fields['space directions'][:80]!r} do not match the sizes"
        )
    pairs = list(zip(sizes, words, strict=True))
    if any(word == "none" and size != 1 for size, word in pairs):
        raise DataError(
            f"{' x '.join(map(str, sizes))} values, of which an axis is not in space",
            where=where,
            rule="a scan has one value per voxel",
            remedy="give one time point or component per file",
            code="not-3d",
        )
    return [(size, _vector(word, where)) for size, word in pairs if word != "none"]


def _vector(text: str, where: str) -> NDArray[np.float64]:
    try:
        found = np.array([float(number) for number in text.strip().strip("()").split(",")])
    except ValueError:
        found = np.array([])
    if found.size != 3:
        raise _broken(where, f"the vector {text[:80]!r} does not have three numbers")
    return found


_UNITS_MM = {
    "": 1.0, "mm": 1.0, "millimeter": 1.0, "millimeters": 1.0, "millimetre": 1.0,
    "um": 1e-3, "\N{MICRO SIGN}m": 1e-3, "\N{GREEK SMALL LETTER MU}m": 1e-3,
    "micron": 1e-3, "microns": 1e-3, "micrometer": 1e-3, "micrometers": 1e-3,
    "micrometre": 1e-3, "nm": 1e-6, "nanometer": 1e-6,
    "cm": 10.0, "centimeter": 10.0, "centimeters": 10.0, "centimetre": 10.0,
    "m": 1000.0, "meter": 1000.0, "meters": 1000.0, "metre": 1000.0,
}  # fmt: skip


def _millimetres(fields: dict[str, str], where: str) -> list[float]:
    """Length of one unit along each axis of space [mm]."""
    # "units" are those of axes without a direction in space: beside directions only mm is clear.
    axes = {_UNITS_MM.get(name) for name in _unit_names(fields.get("units", '"mm"'))}
    names = _unit_names(fields.get("space units", '"mm" "mm" "mm"'))
    if len(names) != 3 or any(name not in _UNITS_MM for name in names) or axes != {1.0}:
        units = ", ".join(f"{key} {fields[key][:60]}" for key in _UNIT_FIELDS if key in fields)
        raise DataError(
            f"the unit of length is unknown: {units}",
            where=where,
            rule="the unit of length is known (space units: mm, cm, m or um)",
            remedy="save it in millimetres, or give the DICOM series",
            code="unknown-unit",
        )
    return [_UNITS_MM[name] for name in names]


_UNIT_FIELDS = ("space units", "units")


def _unit_names(text: str) -> list[str]:
    names = re.findall(r'"([^"]*)"', text) or text.split()
    # The header is read as Latin-1; a micro sign in UTF-8 is two letters there.
    return [_utf8(one).strip().lower() for one in names]


def _utf8(text: str) -> str:
    try:
        return text.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return text


def _broken(where: str, problem: str) -> DataError:
    return DataError(
        problem,
        where=where,
        rule="an NRRD file has a complete, consistent header",
        remedy="copy or export the file again",
        code="bad-header",
    )
