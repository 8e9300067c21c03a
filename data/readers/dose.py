"""RTDOSE as a volume in gray (DICOM PS3.3 A.18, C.8.8.3)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from synthct.data.affine import grid_xyz
from synthct.data.errors import DataError
from synthct.data.readers.checks import checked_shape
from synthct.data.readers.pixels import frame_pixels
from synthct.data.readers.process.memory import empty
from synthct.data.readers.repairs import rounded_line
from synthct.data.readers.series import Series
from synthct.data.readers.slice import Slice, broken_dicom, value
from synthct.data.readers.slices import STEP_TOLERANCE, floats
from synthct.data.volume import Grid, Modality, Volume


def describe_dose(series: Series) -> Grid:
    """Where the dose lies."""
    one = _only(series)
    header, entry = one.header, one.entry
    row, column = np.split(np.array(floats(one, "ImageOrientationPatient", 6)), 2)
    normal = np.cross(row, column)
    corner = np.array(floats(one, "ImagePositionPatient", 3))
    y_mm, x_mm = floats(one, "PixelSpacing", 2)
    frames = int(header.get("NumberOfFrames") or 1)
    rows, columns = (int(value(header, name, entry)) for name in ("Rows", "Columns"))
    shape = checked_shape([frames, rows, columns], np.dtype("f4"), str(entry.path or entry.name))
    offsets = _on_their_line(_offsets(one, frames, corner, normal))
    steps = np.diff(offsets)
    step_mm = float(np.mean(steps))
    if step_mm < 0:
        normal, step_mm = -normal, -step_mm
    if np.abs(np.abs(steps) - step_mm).max() > max(STEP_TOLERANCE * step_mm, 1e-3):
        raise DataError(
            f"the plane distances are {np.abs(steps).min():.3f} to {np.abs(steps).max():.3f} mm",
            where=str(entry.path or entry.name),
            rule="the planes of a dose are evenly spaced",
            remedy="export the dose on an even grid",
            code="uneven-spacing",
        )
    start = corner + np.cross(row, column) * offsets[0]
    return grid_xyz(shape, (x_mm, y_mm, step_mm), start, np.column_stack([row, column, normal]))


def read_dose(series: Series, modality: Modality | None = None) -> Volume:
    """The dose [Gy], float32: stored number x DoseGridScaling."""
    one = _only(series)
    grid = describe_dose(series)
    if modality not in (None, Modality.DOSE):
        raise DataError(
            f"the file is a DOSE where {modality} was expected",
            where=str(one.entry.path or one.entry.name),
            rule="the scan has the modality it was given as",
            remedy="check which file is which",
            code="wrong-modality",
        )
    units = str(value(one.header, "DoseUnits", one.entry)).upper()
    if units != "GY":
        raise broken_dicom(one.entry, f"DoseUnits is {units}, not GY", "bad-tag")
    scaling = float(value(one.header, "DoseGridScaling", one.entry))
    if not (np.isfinite(scaling) and scaling > 0):
        raise broken_dicom(one.entry, f"DoseGridScaling is {scaling}", "bad-tag")
    array: NDArray[Any] = empty(grid.shape, np.float32)
    for number, plane in enumerate(frame_pixels([_at(one, k) for k in range(grid.shape[0])])):
        array[number] = plane * scaling
    return Volume(array, grid, Modality.DOSE)


def _at(one: Slice, frame: int) -> Slice:
    return Slice(one.entry, one.header, one.offset, frame)


def _only(series: Series) -> Slice:
    if len(series.slices) == 1:
        return series.slices[0]
    raise DataError(
        f"the dose has {len(series.slices)} files",
        where=series.title,
        rule="a dose is one file",
        remedy="give the file of the plan's sum",
        code="several-series",
    )


def _offsets(
    one: Slice, frames: int, corner: NDArray[Any], normal: NDArray[Any]
) -> NDArray[np.float64]:
    """Distances of the planes from the first corner along the normal [mm].

    The vector holds offsets that start at 0, or (where it does not) z coordinates of the patient,
    which the standard allows for unturned images only.
    """
    given = _vector(one.header, frames, one)
    if given[0] == 0:
        return given
    if abs(abs(normal[2]) - 1) > 1e-4 or abs(given[0] - corner[2]) > 1e-2:
        raise broken_dicom(
            one.entry, f"GridFrameOffsetVector starts at {given[0]}, not at 0", "bad-tag"
        )
    return np.asarray((given - given[0]) * np.sign(normal[2]))


def _on_their_line(offsets: NDArray[np.float64]) -> NDArray[np.float64]:
    """The offsets; those that are the rounding of even ones become even, as positions of slices."""
    along = np.array([0.0, 0.0, 1.0 if offsets[-1] > offsets[0] else -1.0])
    line = rounded_line(np.outer(offsets, along), np.array([0.0, 0.0, 1.0]))
    return offsets if line is None else np.asarray(line.corners @ along)


def _vector(header: Dataset, frames: int, one: Slice) -> NDArray[np.float64]:
    given = np.array([float(step) for step in value(header, "GridFrameOffsetVector", one.entry)])
    if given.size != frames or not np.isfinite(given).all() or given.size < 2:
        problem = f"GridFrameOffsetVector has {given.size} offsets for {frames} frames"
        raise broken_dicom(one.entry, problem, "bad-tag")
    return given
