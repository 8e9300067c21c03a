"""From the slices of one series to a grid; slices that form no volume raise."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthct.data.affine import grid_xyz
from synthct.data.errors import DataError
from synthct.data.readers.checks import checked_shape
from synthct.data.readers.header_facts import Remark
from synthct.data.readers.repairs import (
    SAME_PLACE_MM,
    mixed_rescale,
    perpendicular,
    rescale_of,
    rounded_line,
    shuffled,
    without_repeats,
)
from synthct.data.readers.series import Series
from synthct.data.readers.slice import Slice, broken_dicom, same_value, value
from synthct.data.volume import Grid

STEP_TOLERANCE = 0.02
"""Largest relative departure of a slice distance from the median that rounding explains."""

STEP_TOLERANCE_MM = 0.02

DRIFT_MM = 0.1
"""Largest sideways drift of the slice corners over the stack; more is a tilted gantry."""

ALONE_MM = 1e-3
"""Smallest offset of a single slice from the line of all others that is not due to rounding
[mm]."""

ORIENTATION_TOLERANCE = 1e-4


@dataclass(frozen=True, eq=False)
class Stack:
    """Slices sorted along their normal, and the grid they form."""

    slices: tuple[Slice, ...]
    grid: Grid
    remarks: tuple[Remark, ...] = ()


def stack(series: Series, where: str) -> Stack:
    """Sort the slices by their position along the normal and check that they form a volume."""
    slices = series.slices
    _require_every_frame(slices, where)
    if len(slices) < 2:
        raise DataError(
            "the series has one slice",
            where=where,
            rule="a scan is a series of at least two slices",
            remedy="give the whole series, not a single image",
            code="not-3d",
        )
    _require_one(slices, where)
    _require_no_odd_rescale(slices, where)
    row, column, rounded_cosines = perpendicular(_orientation(slices, where))
    normal = np.cross(row, column)
    corners = np.array([floats(one, "ImagePositionPatient", 3) for one in slices])
    along = corners @ normal
    kept, repeated = without_repeats(slices, along)
    slices, corners, along = tuple(slices[number] for number in kept), corners[kept], along[kept]
    _require_own_places(along, slices, where)
    line = rounded_line(corners, normal)
    step_mm = line.step_mm if line else _step(along, where)
    _require_upright(line.corners if line else corners, normal, where)
    _require_line(corners, slices, where)
    corner = line.corners[0] if line else corners[0]
    grid = _grid(slices, corner, np.column_stack([row, column, normal]), step_mm, where)
    rounded = [line.remark] if line else []
    remarks = (*rounded_cosines, *rounded, *repeated, *shuffled(slices), *mixed_rescale(slices))
    return Stack(slices, grid, (*_views(series), *remarks))


def _views(series: Series) -> list[Remark]:
    """Remark on localizers and captures that have the UID of the series."""
    if not series.set_aside:
        return []
    count = f"{series.set_aside} image{'' if series.set_aside == 1 else 's'}"
    sentence = f"{count} with the UID of the series, localizer or capture by its header, left out"
    return [Remark("views-left-out", sentence)]


def _require_every_frame(slices: Sequence[Slice], where: str) -> None:
    """Require a position of every frame: enhanced files have them, classic multi-frame ones not."""
    counts = Counter(one.entry.name for one in slices)
    for one in slices:
        frames = int(one.header.get("NumberOfFrames") or 1)
        if frames > 1 and counts[one.entry.name] != frames:
            raise DataError(
                f"{one.entry.name} has {frames} frames and one position for all of them",
                where=where,
                rule="every frame of a multi-frame file has its own position (enhanced CT or MR)",
                remedy="export the scan as single slices or as an enhanced CT or MR",
                code="multi-frame",
            )


_SAME = (
    "Rows", "Columns", "PixelSpacing", "BitsAllocated", "PixelRepresentation", "Modality",
    "FrameOfReferenceUID", "StudyInstanceUID", "PatientID", "PatientPosition",
)  # fmt: skip
"""What all slices of a series have in common."""

_IDENTIFYING = ("PatientID", "StudyInstanceUID")
"""Elements whose values must not appear in messages."""


def _require_one(slices: Sequence[Slice], where: str) -> None:
    """Sizes, spacing, number format and patient are the same in all slices."""
    for keyword in _SAME:
        first = slices[0].header.get(keyword, "missing")
        for one in slices[1:]:
            found = one.header.get(keyword, "missing")
            if same_value(found, first):
                continue
            hidden = keyword in _IDENTIFYING
            names = slices[0].entry.name, one.entry.name
            values = "" if hidden else f": {first} and {found}"
            raise DataError(
                f"{keyword} differs between {names[0]} and {names[1]}{values}",
                where=where,
                rule=f"all slices of a series have the same {keyword}",
                remedy="export one reconstruction of one patient per series",
                code=f"mixed-{keyword.lower()}",
            )


def _require_no_odd_rescale(slices: Sequence[Slice], where: str) -> None:
    """A rescale may vary between slices (MR, PET); a single different one means damage."""
    lines = [rescale_of(one) for one in slices]
    usual, count = Counter(lines).most_common(1)[0]
    if len(lines) < 4 or count != len(lines) - 1:
        return
    odd = next(number for number, line in enumerate(lines) if line != usual)
    if None in lines[odd]:
        return  # raised when the pixels are read: a CT needs a rescale
    raise DataError(
        f"{slices[odd].entry.name} has slope and intercept {lines[odd]}, all others {usual}",
        where=where,
        rule="no single slice has another rescale than all others",
        remedy="send the series again",
        code="mixed-rescale",
    )


def _orientation(slices: Sequence[Slice], where: str) -> NDArray[np.float64]:
    first = np.array(floats(slices[0], "ImageOrientationPatient", 6))
    for one in slices[1:]:
        other = np.array(floats(one, "ImageOrientationPatient", 6))
        if np.abs(other - first).max() > ORIENTATION_TOLERANCE:
            raise DataError(
                f"the orientation of {one.entry.name} is {np.round(other, 4).tolist()}, "
                f"that of the first slice {np.round(first, 4).tolist()}",
                where=where,
                rule="all slices of a series have the same orientation",
                remedy="remove localizers and other views from the folder",
                code="mixed-orientation",
            )
    return first


def _require_own_places(along: NDArray[np.float64], slices: Sequence[Slice], where: str) -> None:
    gaps = np.diff(along)
    if gaps.min() < SAME_PLACE_MM:
        at = int(gaps.argmin())
        raise DataError(
            f"{slices[at].entry.name} and {slices[at + 1].entry.name} are both at "
            f"{along[at]:.2f} mm",
            where=where,
            rule="each slice of a series has its own position",
            remedy="remove the repeated slice, or give one time point",
            code="duplicate-slices",
        )


def _step(along: NDArray[np.float64], where: str) -> float:
    gaps = np.diff(along)
    median = float(np.median(gaps))
    tolerance = max(STEP_TOLERANCE * median, STEP_TOLERANCE_MM)
    wide = np.flatnonzero(np.abs(gaps - median) > tolerance)
    if wide.size:
        raise _uneven(gaps, wide, median, tolerance, along, where)
    return float(along[-1] - along[0]) / gaps.size


def _uneven(
    gaps: NDArray[Any],
    wide: NDArray[Any],
    median: float,
    tolerance: float,
    along: NDArray[Any],
    where: str,
) -> DataError:
    ratios = gaps[wide] / median
    whole = np.abs(ratios - np.rint(ratios)) * median <= tolerance * np.maximum(ratios, 1)
    missing = int((np.rint(ratios) - 1).sum()) if (whole & (ratios > 1.5)).all() else 0
    after_mm = float(along[wide[0]])
    if missing:
        return DataError(
            f"missing slices: {missing}, the first after {after_mm:.2f} mm",
            where=where,
            rule="a series has every slice",
            remedy="send the series again",
            code="missing-slices",
        )
    return DataError(
        f"the slice distances are {gaps.min():.3f} to {gaps.max():.3f} mm, "
        f"the first change is after {after_mm:.2f} mm",
        where=where,
        rule="slices are evenly spaced",
        remedy="export the series on an even grid",
        code="uneven-spacing",
    )


def _require_upright(corners: NDArray[Any], normal: NDArray[Any], where: str) -> None:
    along = (corners - corners[0]) @ normal
    drift = corners - corners[0] - np.outer(along, normal)
    worst_mm = float(np.linalg.norm(drift, axis=1).max())
    if worst_mm > DRIFT_MM:
        raise DataError(
            f"the slice corners drift sideways by {worst_mm:.2f} mm (tilted gantry)",
            where=where,
            rule="slices are stacked along their normal",
            remedy="reformat the series without tilt",
            code="gantry-tilt",
        )


def _require_line(corners: NDArray[Any], slices: Sequence[Slice], where: str) -> None:
    """Require that no single slice is off the line of all others.

    A scanner rounds all positions or none: one that alone is off was changed afterwards.
    """
    if len(slices) < 5:
        return
    number = np.arange(len(slices))
    off = np.zeros(len(slices))
    for component in corners.T:
        # Theil-Sen: the line that a single wrong point does not move.
        slope = np.median(np.diff(component))
        start = np.median(component - slope * number)
        off = np.maximum(off, np.abs(component - slope * number - start))
    worst = int(off.argmax())
    if off[worst] > ALONE_MM and off[worst] > 10 * float(np.sort(off)[-2]):
        raise DataError(
            f"{slices[worst].entry.name} alone is {off[worst]:.3f} mm off the line of the others",
            where=where,
            rule="the slices of a series lie on one line",
            remedy="send the series again",
            code="slice-out-of-line",
        )


def _grid(slices: Sequence[Slice], corner: Any, direction: Any, step_mm: float, where: str) -> Grid:
    first = slices[0]
    y_mm, x_mm = floats(first, "PixelSpacing", 2)
    rows, columns = (int(value(first.header, name, first.entry)) for name in ("Rows", "Columns"))
    shape = checked_shape([len(slices), rows, columns], _stored_type(first), where)
    try:
        return grid_xyz(shape, (x_mm, y_mm, step_mm), corner, direction)
    except DataError as error:
        raise error.at(where) from error


def _stored_type(first: Slice) -> np.dtype[Any]:
    return np.dtype({8: "u1", 32: "i4"}.get(int(first.header.get("BitsAllocated") or 16), "i2"))


def floats(one: Slice, keyword: str, count: int) -> list[float]:
    """``count`` finite numbers of an element that must be there."""
    found = value(one.header, keyword, one.entry)
    try:
        numbers = [float(number) for number in found]
    except (TypeError, ValueError):
        numbers = []
    if len(numbers) != count or not np.isfinite(numbers).all():
        raise broken_dicom(
            one.entry, f"{keyword} is {found}, not {count} finite numbers", "bad-tag"
        )
    return numbers
