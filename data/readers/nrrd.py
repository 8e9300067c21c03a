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

from synthct.data.errors import DataError
from synthct.data.readers.lps import RAS_TO_LPS, grid_from_columns
from synthct.data.readers.misspelt_fields import near_miss
from synthct.data.readers.payload import inflated_voxels, raw_voxels
from synthct.data.readers.size_limits import checked_shape
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
_MATTERS = ("space origin", "line skip", "byte skip", "data file", "datafile")
"""Fields that change the voxels or their place and may be absent."""

_LPS = np.eye(3)
_SPACES = {
    "left-posterior-superior": _LPS, "lps": _LPS,
    "right-anterior-superior": RAS_TO_LPS, "ras": RAS_TO_LPS,
    "left-anterior-superior": np.diag([1.0, -1.0, 1.0]), "las": np.diag([1.0, -1.0, 1.0]),
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class NrrdHeader:
    """What the text before the voxels says."""

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
    if hurt := near_miss(fields, _MATTERS):
        raise _broken(where, f"a field {hurt[:40]!r}")
    kind = next((k for k, names in _KINDS.items() if fields.get("type") in names), None)
    encoding = fields.get("encoding")
    if kind is None or encoding not in ("raw", "gzip", "gz"):
        raise _broken(where, f"type {fields.get('type')}, encoding {encoding}")
    endian = fields.get("endian", "little" if kind.endswith("1") else "")
    if endian not in ("little", "big"):
        raise _broken(where, f"endian {endian or 'missing'}")
    for skip in ("line skip", "lineskip", "byte skip", "byteskip"):
        if fields.get(skip, "0") != "0":
            raise _broken(where, f"{skip} {fields[skip]}")
    dtype = np.dtype(("<" if endian == "little" else ">") + kind)
    sizes = fields.get("sizes", "").split()
    if fields.get("dimension") != str(len(sizes)) or not all(size.isdigit() for size in sizes):
        raise _broken(where, f"dimension {fields.get('dimension')}, sizes {sizes}")
    shape = checked_shape([int(size) for size in reversed(sizes)], dtype, where)
    return NrrdHeader(_grid(fields, shape, where), dtype, encoding != "raw", offset)


def _fields(data: bytes, where: str) -> tuple[dict[str, str], int]:
    if not re.match(rb"NRRD000[1-5]\r?\n", data):
        raise _broken(where, "another magic")
    end = re.search(rb"\n\r?\n", data)
    if end is None:
        raise _broken(where, "no empty line after the header")
    fields: dict[str, str] = {}
    for line in data[: end.start()].decode("latin-1").splitlines()[1:]:
        if line.startswith("#") or ":=" in line:
            continue
        name, colon, value = line.partition(":")
        name = name.strip().lower()
        if not colon or name in fields:
            raise _broken(where, f"line {name[:40]!r} {'twice' if colon else 'without :'}")
        fields[name] = value.strip() if name in _CASED else value.strip().lower()
    if "data file" in fields or "datafile" in fields:
        raise DataError(
            "an NRRD file holds its voxels itself (no data file field)",
            where=where,
            got=fields.get("data file", fields.get("datafile", ""))[:80],
            remedy="save it attached, as one .nrrd file",
            code="external-data",
        )
    return fields, end.end()


_CASED = ("data file", "datafile", "content")


def _grid(fields: dict[str, str], shape: tuple[int, ...], where: str) -> Grid:
    turn = _SPACES.get(fields.get("space", ""))
    if turn is None or "space directions" not in fields:
        raise DataError(
            "an NRRD file says how it lies in the patient (space, space directions)",
            where=where,
            got=f"space {fields.get('space', 'missing')}",
            remedy="export it again with an orientation, or give the DICOM series",
            code="no-orientation",
        )
    columns = turn @ np.array(_vectors(fields["space directions"], 3, where)).T
    origin = turn @ np.array(_vectors(fields.get("space origin", "(0,0,0)"), 1, where)[0])
    return grid_from_columns(shape, columns, origin.tolist(), where)


def _vectors(text: str, count: int, where: str) -> list[NDArray[np.float64]]:
    try:
        found = [
            np.array([float(number) for number in group.split(",")])
            for group in re.findall(r"\(([^()]*)\)", text)
        ]
    except ValueError:
        found = []
    if len(found) != count or any(vector.size != 3 for vector in found):
        raise _broken(where, f"vectors {text[:80]!r}")
    return found


def _broken(where: str, got: str) -> DataError:
    return DataError(
        "an NRRD file has a whole, consistent header",
        where=where,
        got=got,
        remedy="copy or export the file again",
        code="bad-header",
    )
