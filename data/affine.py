"""Affines of other programs: (x, y, z) order in LPS or RAS to a :class:`Grid` and back.

NIfTI and nibabel state where a voxel is in RAS millimetres (right, anterior, superior) by a 4 x 4
matrix from the index (i, j, k, 1); see the NIfTI-1.1 standard, ``nifti1.h``, "METHOD 3", and
https://nipy.org/nibabel/coordinate_systems.html. Ours is LPS with every vector in (z, y, x).

NIfTI-1 keeps positions in float32: seven digits, so a voxel at 900 mm is off by up to 3e-5 mm. The
exact affine is added as a header extension (``nifti1.h``: ``esize``, ``ecode``, data; code 6 is
plain text), which ITK, nibabel and FSL ignore. The two must agree, so a flipped bit in either is
found.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthct.data.errors import DataError
from synthct.data.volume import Grid, Matrix, Triple

RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0])
"""Turns right-anterior-superior into left-posterior-superior coordinates (and back)."""


def grid_from_columns(
    shape: Sequence[int], columns: NDArray[Any], origin: Sequence[float], where: str
) -> Grid:
    """The grid with shape (Z, Y, X) whose index steps along x, y, z are the columns [mm, LPS].

    Columns that are not perpendicular (shear) raise: no grid of boxes has such an affine.
    """
    spacing = np.linalg.norm(columns, axis=0)
    if not np.isfinite(columns).all() or spacing.min() <= 0:
        raise DataError(
            f"the steps between voxels are {np.round(columns, 6).tolist()} mm",
            where=where,
            rule="the steps between voxels are finite and not zero [mm]",
            remedy="check the header or export the scan again",
            code="spacing-not-positive",
        )
    try:
        return grid_xyz(shape, spacing, origin, columns / spacing)
    except DataError as error:
        raise DataError(
            error.problem,
            where=where,
            rule=error.rule,
            remedy="export the scan on a grid with perpendicular axes",
            code=error.code,
        ) from error


def grid_xyz(
    shape: Sequence[int], spacing: Sequence[float], origin: Sequence[float], direction: Any
) -> Grid:
    """A grid from shape (Z, Y, X) and spacing, origin, direction in (x, y, z) order."""
    z, y, x = (int(size) for size in shape)
    matrix = np.asarray(direction, dtype=float)[::-1, ::-1]
    rows = tuple(_triple(row) for row in matrix)
    turned: Matrix = (rows[0], rows[1], rows[2])
    return Grid(
        (z, y, x), _triple(np.asarray(spacing)[::-1]), _triple(np.asarray(origin)[::-1]), turned
    )


def ras_affine(grid: Grid) -> NDArray[np.float64]:
    """4 x 4 matrix from index (x, y, z, 1) to point (x, y, z, 1) [mm, RAS], as in NIfTI."""
    affine = grid.affine[[2, 1, 0, 3]][:, [2, 1, 0, 3]]
    affine[:3] = RAS_TO_LPS @ affine[:3]
    return affine + 0.0  # no negative zeros


def _triple(values: Any) -> Triple:
    first, second, third = (float(value) for value in values)
    return first, second, third


HEADER_BYTES = 348
"""Size of a NIfTI-1 header."""

ECODE_COMMENT = 6
EXACT_AFFINE = "synthct exact affine (LPS, mm, x y z): "
"""First line of the extension's text."""

MAX_HEADER_BYTES = 4096
"""Maximum size of a header with an exact affine [bytes]."""


def exact_affine_extension(columns: Sequence[Sequence[float]], origin: Sequence[float]) -> bytes:
    """The four flag bytes after the header, and the extension."""
    rows = [[*map(float, row), float(shift)] for row, shift in zip(columns, origin, strict=True)]
    text = (EXACT_AFFINE + json.dumps(rows)).encode()
    size = -(-(8 + len(text)) // 16) * 16
    return b"\1\0\0\0" + struct.pack("<2i", size, ECODE_COMMENT) + text.ljust(size - 8, b"\0")


def exact_affine_in(data: bytes, order: str) -> list[list[float]] | None:
    """Three rows of four numbers, or None where the header has no such extension.

    Raises ``ValueError`` where there is one that cannot be read.
    """
    if len(data) < HEADER_BYTES + 12 or data[HEADER_BYTES] == 0:
        return None
    size, code = struct.unpack_from(order + "2i", data, HEADER_BYTES + 4)
    body = data[HEADER_BYTES + 12 : HEADER_BYTES + 4 + size]
    if code != ECODE_COMMENT or not body.startswith(EXACT_AFFINE.encode()):
        return None
    rows = json.loads(body[len(EXACT_AFFINE) :].rstrip(b"\0").decode())
    if len(rows) != 3 or any(len(row) != 4 for row in rows):
        raise ValueError("an affine is three rows of four numbers")
    return [[float(number) for number in row] for row in rows]
