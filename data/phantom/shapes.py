"""Smooth implicit shapes: how deep a point lies inside, in millimetres (negative outside).

A shape knows its bounding box, so painting it costs what it covers. Depths are exact for
capsules and first-order for ellipsoids and columns, which is what shells of a few mm need.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import PchipInterpolator

Field = NDArray[np.float32]
Depth = Callable[[Field, Field, Field], Field]

_HEIGHTS = 2048
"""Number of precomputed sections of a column: steps far below any voxel."""


@dataclass(frozen=True, eq=False)
class Shape:
    """``depth(z, y, x)`` [mm], positive inside; nothing is inside beyond the box ``low..high``."""

    depth: Depth
    low: NDArray[np.float64]
    high: NDArray[np.float64]

    def grown(self, mm: float) -> Shape:
        """The shape with its surface moved outwards (inwards if negative) by ``mm``."""
        reach = max(mm, 0.0)
        return Shape(lambda z, y, x: self.depth(z, y, x) + mm, self.low - reach, self.high + reach)

    def boxed(self, axis: int, low_mm: float, high_mm: float) -> Shape:
        """The same shape of which only a slice along one axis need be painted."""
        low, high = self.low.copy(), self.high.copy()
        low[axis], high[axis] = max(low[axis], low_mm), min(high[axis], high_mm)
        return Shape(self.depth, low, high)

    def __and__(self, other: Shape) -> Shape:
        """Intersection."""
        return Shape(
            lambda z, y, x: np.minimum(self.depth(z, y, x), other.depth(z, y, x)),
            np.maximum(self.low, other.low),
            np.minimum(self.high, other.high),
        )

    def __sub__(self, other: Shape) -> Shape:
        """Difference: this shape without the other."""
        return Shape(
            lambda z, y, x: np.minimum(self.depth(z, y, x), -other.depth(z, y, x)),
            self.low,
            self.high,
        )

    def blended(self, other: Shape, width_mm: float) -> Shape:
        """Union with a fillet of about ``width_mm`` (polynomial smooth maximum)."""

        def depth(z: Field, y: Field, x: Field) -> Field:
            a, b = self.depth(z, y, x), other.depth(z, y, x)
            h = np.maximum(width_mm - np.abs(a - b), 0) / width_mm
            return np.asarray(np.maximum(a, b) + h * h * (width_mm / 4), dtype=np.float32)

        pad = width_mm / 4
        return Shape(
            depth, np.minimum(self.low, other.low) - pad, np.maximum(self.high, other.high) + pad
        )


def ellipsoid(
    centre: ArrayLike,
    radii: ArrayLike,
    *,
    turn: NDArray[np.float64] | None = None,
    power: float = 2,
) -> Shape:
    """Superellipsoid with half axes ``radii`` (z, y, x); ``power`` 2 is round, 4 nearly a box.

    ``turn`` is a rotation from the shape's own axes to the patient's. Depth is the first-order
    distance ``k0 (1 - k0) / k1`` with ``k0 = |q / r|`` and ``k1 = |q / r^2|``.
    """
    c, r = np.asarray(centre, dtype=float), np.asarray(radii, dtype=float)
    matrix = np.eye(3) if turn is None else turn

    def depth(z: Field, y: Field, x: Field) -> Field:
        q = [z - c[0], y - c[1], x - c[2]]
        if turn is not None:
            q = [sum(matrix[j, i] * q[j] for j in range(3)) for i in range(3)]
        scaled = [np.abs(value / size) for value, size in zip(q, r, strict=True)]
        if power == 2:
            k0 = np.sqrt(scaled[0] ** 2 + scaled[1] ** 2 + scaled[2] ** 2)
            terms = [value / size for value, size in zip(scaled, r, strict=True)]
            k1 = np.sqrt(terms[0] ** 2 + terms[1] ** 2 + terms[2] ** 2)
            return np.asarray(k0 * (1 - k0) / (k1 + 1e-6), dtype=np.float32)
        k0 = sum(value**power for value in scaled) ** (1 / power)
        length = np.sqrt(q[0] ** 2 + q[1] ** 2 + q[2] ** 2)
        inner = np.float32(r.min())
        return np.asarray(
            np.minimum(length * (1 / np.maximum(k0, 1e-3) - 1), inner), dtype=np.float32
        )

    reach = np.sqrt((matrix**2) @ (r**2)) if power == 2 else np.abs(matrix) @ r
    return Shape(depth, c - reach, c + reach)


def capsule(
    start: ArrayLike, stop: ArrayLike, radius: float, end_radius: float | None = None
) -> Shape:
    """A rod with round ends whose radius runs from ``radius`` to ``end_radius`` [mm]."""
    a, b = np.asarray(start, dtype=float), np.asarray(stop, dtype=float)
    last = radius if end_radius is None else end_radius
    along = b - a
    squared = float(along @ along) + 1e-9

    def depth(z: Field, y: Field, x: Field) -> Field:
        qz, qy, qx = z - a[0], y - a[1], x - a[2]
        t = np.clip((qz * along[0] + qy * along[1] + qx * along[2]) / squared, 0, 1)
        gap = np.sqrt(
            (qz - t * along[0]) ** 2 + (qy - t * along[1]) ** 2 + (qx - t * along[2]) ** 2
        )
        return np.asarray(radius + (last - radius) * t - gap, dtype=np.float32)

    widest = max(radius, last)
    return Shape(depth, np.minimum(a, b) - widest, np.maximum(a, b) + widest)


def tube(points: ArrayLike, radii: float | Sequence[float]) -> list[Shape]:
    """Capsules along a polyline (n, 3); one radius or one for each point [mm]."""
    line = np.asarray(points, dtype=float)
    widths = np.broadcast_to(np.asarray(radii, dtype=float), (len(line),))
    return [
        capsule(line[i], line[i + 1], float(widths[i]), float(widths[i + 1]))
        for i in range(len(line) - 1)
    ]


def curve(points: ArrayLike, count: int) -> NDArray[np.float64]:
    """``count`` points on a smooth curve through the given points (n, 3)."""
    knots = np.asarray(points, dtype=float)
    lengths = np.linalg.norm(np.diff(knots, axis=0), axis=1) + 1e-3
    steps = np.concatenate([[0], np.cumsum(lengths)])
    return np.asarray(PchipInterpolator(steps, knots)(np.linspace(0, steps[-1], count)))


def column(knots: Sequence[tuple[float, float, float, float, float]], *, power: float = 2) -> Shape:
    """A trunk along z: superellipses whose centre and half axes change smoothly with height.

    ``knots`` are (z, centre y, centre x, half axis y, half axis x) [mm]; beyond the first and
    last the section stays. Depth is measured towards the axis of the section.
    """
    table = np.asarray(sorted(knots), dtype=float)
    smooth = PchipInterpolator(table[:, 0], table[:, 1:])
    low_z, high_z = table[0, 0], table[-1, 0]
    sections = smooth(np.linspace(low_z, high_z, _HEIGHTS)).T.astype(np.float32)

    def depth(z: Field, y: Field, x: Field) -> Field:
        step = (z - np.float32(low_z)) * np.float32((_HEIGHTS - 1) / (high_z - low_z))
        row = np.clip(step, 0, _HEIGHTS - 1).astype(np.int16)
        cy, cx, ry, rx = (sections[i][row] for i in range(4))
        qy, qx = np.abs(y - cy), np.abs(x - cx)
        k = ((qy / ry) ** power + (qx / rx) ** power) ** np.float32(1 / power)
        radial = np.sqrt(qy * qy + qx * qx) * (1 / np.maximum(k, 1e-3) - 1)
        return np.asarray(np.minimum(radial, np.minimum(ry, rx)), dtype=np.float32)

    reach = table[:, 3:]
    low = np.concatenate([[-1e4], (table[:, 1:3] - reach).min(0)])
    high = np.concatenate([[1e4], (table[:, 1:3] + reach).max(0)])
    return Shape(depth, low, high)


def half_space(normal: ArrayLike, offset_mm: float) -> Shape:
    """Points with ``normal . point > offset_mm``; ``normal`` (z, y, x) is normalised."""
    n = np.asarray(normal, dtype=float)
    n = n / np.linalg.norm(n)

    def depth(z: Field, y: Field, x: Field) -> Field:
        return np.asarray(n[0] * z + n[1] * y + n[2] * x - offset_mm, dtype=np.float32)

    low, high = np.full(3, -1e4), np.full(3, 1e4)
    for axis in range(3):
        if n[axis] == 1:
            low[axis] = offset_mm
        elif n[axis] == -1:
            high[axis] = -offset_mm
    return Shape(depth, low, high)


def below(axis: int, level_mm: float) -> Shape:
    """The half space whose coordinate ``axis`` (0 z, 1 y, 2 x) is under ``level_mm``."""
    return half_space(-np.eye(3)[axis], -level_mm)


def above(axis: int, level_mm: float) -> Shape:
    """The half space whose coordinate ``axis`` (0 z, 1 y, 2 x) is over ``level_mm``."""
    return half_space(np.eye(3)[axis], level_mm)


def turned(*, z_deg: float = 0, y_deg: float = 0, x_deg: float = 0) -> NDArray[np.float64]:
    """Rotation about z, then y, then x as a 3 x 3 matrix in (z, y, x) order."""
    (a, b, c) = np.deg2rad([z_deg, y_deg, x_deg])
    about_z = np.array([[1, 0, 0], [0, np.cos(a), np.sin(a)], [0, -np.sin(a), np.cos(a)]])
    about_y = np.array([[np.cos(b), 0, -np.sin(b)], [0, 1, 0], [np.sin(b), 0, np.cos(b)]])
    about_x = np.array([[np.cos(c), np.sin(c), 0], [-np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return np.asarray(about_x @ about_y @ about_z)
