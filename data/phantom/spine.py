"""Vertebrae with bodies, arches and processes, the discs between them and the canal behind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

from synthct.data.phantom.canvas import Canvas
from synthct.data.phantom.shapes import Shape, capsule, curve, ellipsoid, tube

BONE = {"cortical_bone": 0.0, "marrow": 2.0}
"""Cortex of 2 mm, marrow inside: long and irregular bones."""


@dataclass(frozen=True)
class Vertebra:
    """Sizes of one vertebra [mm]; the body's centre is at (z, y, x)."""

    z: float
    y: float
    x: float
    half_height: float
    half_depth: float
    half_width: float
    transverse: float
    """Reach of the transverse processes from the midline."""
    spinous: float
    """Reach of the spinous process behind the canal."""
    spinous_drop: float = 12.0

    @property
    def canal(self) -> NDArray[np.float64]:
        """Centre of the spinal canal (z, y, x)."""
        return np.array([self.z, self.y + self.half_depth + 8.0, self.x])

    def parts(self) -> list[Shape]:
        """Body, pedicles, laminae, transverse, articular and spinous processes."""
        centre = (self.z, self.y, self.x)
        size = (self.half_height, self.half_depth, self.half_width)
        found = [ellipsoid(centre, size, power=3.5)]
        cz, cy, cx = self.canal
        roof = (cz - 3, cy + 13, cx)
        thick = 0.42 * self.half_height
        for side in (-1, 1):
            root = (cz + 3, cy - 6, cx + side * 13)
            corner = (cz, cy + 5, cx + side * 16)
            tip = (cz + 1, cy + 9, cx + side * self.transverse)
            found += [capsule(root, corner, thick), capsule(corner, roof, 0.8 * thick)]
            found += [capsule(corner, tip, 0.8 * thick, 0.6 * thick)]
            found += [ellipsoid(corner, (self.half_height + 3, 6, 5))]
        end = (cz - 3 - self.spinous_drop, cy + 13 + self.spinous, cx)
        return [*found, capsule(roof, end, 3.5, 4.2)]


def place_vertebrae(
    levels: Sequence[tuple[float, float, float, float, float, float]],
    bend: Sequence[tuple[float, float]],
    rng: np.random.Generator,
) -> list[Vertebra]:
    """Vertebrae along the spine's curve ``bend`` (z, y) with a slight scoliosis.

    ``levels`` are (z, half height, half depth, half width, transverse, spinous) [mm].
    """
    knots = np.asarray(sorted(bend), dtype=float)
    depth_of = PchipInterpolator(knots[:, 0], knots[:, 1], extrapolate=True)
    lean, phase = rng.normal(0, 2.0), rng.uniform(0, 2 * np.pi)
    return [
        Vertebra(z, float(depth_of(z)), lean * float(np.sin(z / 60 + phase)), *sizes)
        for z, *sizes in levels
    ]


def paint_spine(canvas: Canvas, vertebrae: Sequence[Vertebra], *, cord: bool = True) -> None:
    """Discs first, bone over them, then the canal through all arches."""
    ordered = sorted(vertebrae, key=lambda one: one.z)
    discs = []
    for low, high in pairwise(ordered):
        centre = ((low.z + high.z) / 2, (low.y + high.y) / 2, (low.x + high.x) / 2)
        height = (high.z - low.z) / 2 - low.half_height + 5
        discs.append(ellipsoid(centre, (height, low.half_depth, low.half_width), power=3))
    canvas.paint(discs, "disc")
    canvas.paint([part for one in ordered for part in one.parts()], BONE, wobble_mm=0.4)
    line = curve([one.canal for one in ordered], 4 * len(ordered))
    canvas.paint(tube(line, 10.0), "visceral_fat", over=("muscle", "visceral_fat", "fat"))
    canvas.paint(tube(line, 7.5), "csf")
    if cord:
        canvas.paint(tube(line, 4.6), "cord")
    else:
        canvas.paint(tube(line + np.array([0, 2.0, 0]), 2.5), "cord")
