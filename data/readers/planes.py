"""Several closed contours in one plane: holes, separate parts, or contours that cross.

DICOM PS3.3 C.8.8.6.3 defines two ways to exclude an inner part: one contour with a keyhole, and
CLOSEDPLANAR_XOR contours, which are combined by exclusive or. Of several CLOSED_PLANAR contours in
one plane it says nothing; most treatment planning systems write a hole as a second contour inside
the first. Exclusive or would give that too, but would also cut the overlap out of two contours that
cross, and make a contour that is stored twice disappear.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Area = NDArray[np.bool_]

MAX_OUTSIDE = 0.05
"""Share of an inner contour's voxels that may lie outside the outer one because points are rounded
[1]."""


@dataclass(frozen=True, eq=False)
class _Part:
    """What one contour encloses, cut to its bounding box: a plane may have hundreds."""

    area: Area
    box: tuple[int, int, int, int]
    """First row and column, last ones + 1."""
    voxels: int

    def common(self, other: _Part) -> int:
        """Voxels that both enclose."""
        low = np.maximum(self.box[:2], other.box[:2])
        high = np.minimum(self.box[2:], other.box[2:])
        if (low >= high).any():
            return 0
        return int((self._cut(low, high) & other._cut(low, high)).sum())

    def _cut(self, low: NDArray[np.int64], high: NDArray[np.int64]) -> Area:
        y, x = self.box[:2]
        return self.area[low[0] - y : high[0] - y, low[1] - x : high[1] - x]


def combined(
    areas: Iterable[Area], shape: tuple[int, ...], exclusive: bool
) -> tuple[NDArray[np.uint8], bool]:
    """The area (Y, X) of all contours of one plane, and whether some of them cross.

    Parameters
    ----------
    areas
        What each contour encloses, (Y, X).
    shape
        Of the slice, (Y, X).
    exclusive
        The contours are CLOSEDPLANAR_XOR: each voxel inside an odd number of them belongs.

    Returns
    -------
    area, crossed
        For CLOSED_PLANAR a contour inside another is a hole, one inside the hole a part again;
        contours that cross, and equal ones, are joined.
    """
    result = np.zeros(shape, np.uint8)
    if exclusive:
        for area in areas:
            result ^= area
        return result, False
    depths, crossed = _nested([_part(area) for area in areas if area.any()])
    for part, depth in sorted(depths.items(), key=lambda one: one[1]):
        y, x, y_end, x_end = part.box
        result[y:y_end, x:x_end][part.area] = 1 - depth % 2
    return result, crossed


def _nested(parts: Sequence[_Part]) -> tuple[dict[_Part, int], bool]:
    """How many others enclose each part, one within the other; whether any two cross."""
    order = sorted(parts, key=lambda part: -part.voxels)
    boxes = np.array([part.box for part in order]).reshape(len(order), 4)
    depths: dict[_Part, int] = {}
    crossed = False
    for at, part in enumerate(order):
        depth, twice = 0, False
        for near in np.flatnonzero(_meet(boxes[:at], boxes[at])):
            other = order[near]
            common = part.common(other)
            if part.voxels - common <= MAX_OUTSIDE * part.voxels:
                twice |= common == part.voxels == other.voxels
                depth = depths.get(other, depth - 1) + 1  # the smallest around it comes last
            else:
                crossed |= common > 0
        if not twice:
            depths[part] = depth
    return depths, crossed


def _meet(boxes: NDArray[np.int64], one: NDArray[np.int64]) -> NDArray[np.bool_]:
    return np.asarray((boxes[:, :2] < one[2:]).all(axis=1) & (boxes[:, 2:] > one[:2]).all(axis=1))


def _part(area: Area) -> _Part:
    rows, columns = np.flatnonzero(area.any(axis=1)), np.flatnonzero(area.any(axis=0))
    y, x, y_end, x_end = int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1
    cut = area[y:y_end, x:x_end].copy()
    return _Part(cut, (y, x, y_end, x_end), int(cut.sum()))
