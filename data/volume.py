"""A scan in memory: an array on a grid in patient coordinates, all in (z, y, x) order."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthct.data.errors import DataError

Triple = tuple[float, float, float]
Matrix = tuple[Triple, Triple, Triple]
IDENTITY: Matrix = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))

DIRECTION_TOLERANCE = 1e-4
"""Largest departure of a direction matrix from orthonormal that DICOM's rounding explains."""


class Modality(StrEnum):
    """What the voxels measure."""

    CT = "CT"
    MR = "MR"
    CBCT = "CBCT"
    MASK = "MASK"
    LABELS = "LABELS"
    DOSE = "DOSE"


UNITS: dict[Modality, str] = {
    Modality.CT: "HU",
    Modality.CBCT: "HU",
    Modality.MR: "a.u.",
    Modality.MASK: "1",
    Modality.LABELS: "1",
    Modality.DOSE: "Gy",
}


@dataclass(frozen=True)
class Grid:
    """Positions of the voxels: ``point = origin + direction @ (spacing * index)``.

    All vectors are in (z, y, x) order; points are LPS millimetres, so the x component grows to
    the patient's left, y to the back (posterior), z to the head (superior). Column ``k`` of
    ``direction`` is the direction in space of array axis ``k``.

    Parameters
    ----------
    shape
        Number of voxels (Z, Y, X).
    spacing_mm
        Distance of voxel centres along the array axes (z, y, x) [mm].
    origin_mm
        Centre of voxel (0, 0, 0) as (z, y, x) [mm, LPS].
    direction
        Orthonormal 3 x 3, rows and columns in (z, y, x) order.
    """

    shape: tuple[int, int, int]
    spacing_mm: Triple
    origin_mm: Triple = (0.0, 0.0, 0.0)
    direction: Matrix = IDENTITY

    def __post_init__(self) -> None:
        if len(self.shape) != 3 or min(self.shape) < 1:
            raise DataError(
                f"the shape is {tuple(self.shape)}",
                rule="a scan has three axes (Z, Y, X) of at least one voxel",
                remedy="give a volume, not a single image",
                code="not-3d",
            )
        numbers = np.array([*self.spacing_mm, *self.origin_mm, *np.ravel(self.direction)])
        if not np.isfinite(numbers).all():
            raise DataError(
                f"the grid has a value that is not finite: {self}",
                rule="spacing, origin and direction are finite",
                code="grid-nan",
            )
        if min(self.spacing_mm) <= 0:
            raise DataError(
                f"the spacing is {self.spacing_mm} mm",
                rule="spacing is positive",
                code="spacing-not-positive",
            )
        matrix = np.asarray(self.direction, dtype=float)
        if np.abs(matrix.T @ matrix - np.eye(3)).max() > DIRECTION_TOLERANCE:
            raise DataError(
                f"the direction matrix is {self.direction}",
                rule="the direction matrix is orthonormal",
                code="direction-skewed",
            )

    @property
    def affine(self) -> NDArray[np.float64]:
        """4 x 4 matrix from index (z, y, x, 1) to point (z, y, x, 1) [mm]."""
        affine = np.eye(4)
        affine[:3, :3] = np.asarray(self.direction) * np.asarray(self.spacing_mm)
        affine[:3, 3] = self.origin_mm
        return affine

    @property
    def extent_mm(self) -> Triple:
        """Length from outer face to outer face along each array axis [mm]."""
        return _triple(np.asarray(self.shape) * np.asarray(self.spacing_mm))

    @property
    def centre_mm(self) -> Triple:
        """Middle of the grid (z, y, x) [mm]."""
        return _triple(self.points((np.asarray(self.shape, dtype=float) - 1) / 2))

    @property
    def voxel_mm3(self) -> float:
        """Volume of one voxel [mm^3]."""
        return float(np.prod(self.spacing_mm))

    def points(self, index: NDArray[Any]) -> NDArray[np.float64]:
        """Points (..., 3) [mm] of the indices (..., 3), both (z, y, x)."""
        affine = self.affine
        return np.asarray(np.asarray(index, dtype=float) @ affine[:3, :3].T + affine[:3, 3])

    def index(self, points_mm: NDArray[Any]) -> NDArray[np.float64]:
        """Continuous indices (..., 3) of the points (..., 3) [mm], both (z, y, x)."""
        inverse = np.linalg.inv(self.affine)
        return np.asarray(np.asarray(points_mm, dtype=float) @ inverse[:3, :3].T + inverse[:3, 3])

    def is_close(self, other: Grid, tolerance_mm: float = 1e-3) -> bool:
        """Whether the corner voxels of both grids differ by at most the tolerance."""
        if self.shape != other.shape:
            return False
        corners = np.array(np.meshgrid(*[(0, n - 1) for n in self.shape])).reshape(3, -1).T
        return bool(np.abs(self.points(corners) - other.points(corners)).max() <= tolerance_mm)

    def with_spacing(self, spacing_mm: Triple) -> Grid:
        """The same box cut into voxels of ``spacing_mm`` (outer faces kept within one voxel)."""
        new = np.asarray(spacing_mm, dtype=float)
        shape = np.maximum(1, np.round(np.asarray(self.extent_mm) / new).astype(int))
        return Grid(
            shape=(int(shape[0]), int(shape[1]), int(shape[2])),
            spacing_mm=_triple(new),
            origin_mm=self._origin_of_centred(shape, new),
            direction=self.direction,
        )

    def _origin_of_centred(self, shape: NDArray[Any], spacing: NDArray[Any]) -> Triple:
        half = np.asarray(self.direction) @ (spacing * (np.asarray(shape, dtype=float) - 1) / 2)
        return _triple(np.asarray(self.centre_mm) - half)

    def crop(self, start: tuple[int, int, int], stop: tuple[int, int, int]) -> Grid:
        """The grid of ``array[start[0]:stop[0], start[1]:stop[1], start[2]:stop[2]]``."""
        shape = tuple(int(b - a) for a, b in zip(start, stop, strict=True))
        origin = _triple(self.points(np.asarray(start, dtype=float)))
        return Grid((shape[0], shape[1], shape[2]), self.spacing_mm, origin, self.direction)


def _triple(values: Any) -> Triple:
    first, second, third = (float(v) for v in values)
    return first, second, third


@dataclass(frozen=True, eq=False)
class Volume:
    """A scan: ``array`` (Z, Y, X) on ``grid``; validated and read-only.

    CT and CBCT are in Hounsfield units, MR in arbitrary units, masks are 0 or 1.
    """

    array: NDArray[Any]
    grid: Grid
    modality: Modality

    def __post_init__(self) -> None:
        if self.array.shape != self.grid.shape:
            raise DataError(
                f"the array has shape {self.array.shape}, its grid {self.grid.shape}",
                rule="the array has the shape of its grid",
                code="shape-mismatch",
            )
        if self.array.dtype.kind not in "biuf":
            raise DataError(
                f"the array is of type {self.array.dtype}",
                rule="voxels are real numbers",
                code="dtype-not-real",
            )
        frozen = self.array.view()
        frozen.flags.writeable = False
        object.__setattr__(self, "array", frozen)

    @property
    def unit(self) -> str:
        """Unit of the voxel values."""
        return UNITS[self.modality]

    def with_array(self, array: NDArray[Any], modality: Modality | None = None) -> Volume:
        """Other voxels on the same grid."""
        return Volume(array, self.grid, modality or self.modality)

    def crop(self, start: tuple[int, int, int], stop: tuple[int, int, int]) -> Volume:
        """The voxels from index ``start`` up to, not including, ``stop``."""
        inside = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
        return replace(self, array=self.array[inside], grid=self.grid.crop(start, stop))


@dataclass(frozen=True, eq=False)
class Displacement:
    """u(x) [mm] on the fixed grid: fixed point ``x`` corresponds to moving point ``x + u(x)``.

    ``vectors`` is float32 (3, Z, Y, X); component order (z, y, x), LPS millimetres: the ITK
    direction (it pulls the moving image onto the fixed grid).
    """

    vectors: NDArray[np.float32]
    grid: Grid

    def __post_init__(self) -> None:
        if self.vectors.shape != (3, *self.grid.shape):
            raise DataError(
                f"the vectors have shape {self.vectors.shape}, the grid {self.grid.shape}",
                rule="a displacement has three components on its grid",
                code="shape-mismatch",
            )
        frozen = np.asarray(self.vectors, dtype=np.float32).view()
        frozen.flags.writeable = False
        object.__setattr__(self, "vectors", frozen)
