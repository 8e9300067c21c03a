"""Ribs as curved bars around the chest wall, their cartilages and the sternum."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

from synthct.data.phantom.canvas import Canvas
from synthct.data.phantom.shapes import Shape, ellipsoid, tube

Knot = tuple[float, float, float, float, float]
RIB = {"cortical_bone": 0.0, "marrow": 2.0}


class Wall:
    """The ellipse (centre y, x; half axes y, x) of the rib cage at each height [mm]."""

    def __init__(self, knots: Sequence[Knot]) -> None:
        table = np.asarray(sorted(knots), dtype=float)
        self._range = table[0, 0], table[-1, 0]
        self._sections = PchipInterpolator(table[:, 0], table[:, 1:])

    def point(self, z: float, angle: float, side: int) -> NDArray[np.float64]:
        """The point at ``angle`` from the spine (0) over the flank to the breast bone (pi)."""
        cy, cx, ry, rx = self._sections(np.clip(z, *self._range))
        return np.array([z, cy + ry * np.cos(angle), cx + side * rx * np.sin(angle)])


def rib(wall: Wall, z: float, drop_mm: float, stop: float, side: int) -> NDArray[np.float64]:
    """Points of one rib from its vertebra at height ``z`` to ``stop`` [rad], falling forwards."""
    angles = np.linspace(0.16, stop, 14)
    heights = z + 4 - drop_mm * (angles / np.pi) ** 1.3
    return np.array([wall.point(h, a, side) for h, a in zip(heights, angles, strict=True)])


def cartilage(
    wall: Wall, end: NDArray[np.float64], angle: float, sternum_z: float, side: int
) -> list[Shape]:
    """The bar from the end of a rib at ``angle`` rising to the breast bone."""
    steps = np.linspace(0, 1, 5)
    return tube(
        [
            wall.point(end[0] + t * (sternum_z - end[0]), angle + t * (2.95 - angle), side)
            for t in steps
        ],
        5.0,
    )


def paint_ribs(
    canvas: Canvas,
    wall: Wall,
    ribs: Sequence[tuple[float, float, float, float | None]],
    *,
    radius_mm: float = 5.2,
) -> None:
    """Paint both sides; each rib is (z at the spine, drop, last angle, breast bone height)."""
    bars: list[Shape] = []
    soft: list[Shape] = []
    for side in (-1, 1):
        for z, drop, stop, sternum_z in ribs:
            line = rib(wall, z, drop, stop, side)
            bars += tube(line, radius_mm)
            if sternum_z is not None:
                soft += cartilage(wall, line[-1], stop, sternum_z, side)
    canvas.paint(soft, "cartilage")
    canvas.paint(bars, RIB)


def paint_sternum(canvas: Canvas, wall: Wall, top: float, bottom: float) -> None:
    """Manubrium and body in front of the ribs' cartilages."""
    steps = np.linspace(top, bottom, 7)
    plates = [
        ellipsoid(
            wall.point(z, np.pi, 1) + np.array([0, 1, 0]), ((top - bottom) / 9, 6.5, width), power=3
        )
        for z, width in zip(steps, (26, 22, 17, 16, 17, 17, 12), strict=True)
    ]
    canvas.paint(plates, RIB)
