r"""Extension of the modelled volume beyond the requested one, to contain all attenuation.

A ray at the cone's edge leaves the requested box through its top or bottom and crosses more of the
patient there; a wide patient also extends beyond the detector's sides. Iterative methods would
assign that attenuation to the box, as bright rims and wrong values. The box grows along z to the
height of the cone behind the axis, :math:`h_v (R + r) / D` for the detector's half height
:math:`h_v`, the distances *R* and *D* of axis and detector, and the box's radius *r*; and, where
the outermost columns measure more than air, along y and x beyond the cylinder that all views see.

Larger boxes against truncation: doi:10.1186/s12880-022-00881-8; here their size follows from the
orbit.
"""

from __future__ import annotations

import math

import numpy as np
from torch import Tensor

from synthct.data.tomography.cone_beam import ConeBeam
from synthct.data.volume import Grid

AIR = 0.05
"""Largest mean line integral of the outermost columns that counts as air."""

BEYOND = 1.25
"""Half width of the box of a truncated scan, in radii of the cylinder that all views see."""

Box = tuple[tuple[int, int, int], tuple[int, int, int]]
"""First index and end of the requested grid in the larger one."""


def modelled(grid: Grid, beam: ConeBeam, lines: Tensor) -> tuple[Grid, Box]:
    """The grid that contains everything the rays cross, and the position of ``grid`` in it.

    Parameters
    ----------
    grid
        The requested grid, along the axes of the patient.
    lines
        Line integrals (views, V, U), from which truncation is detected.
    """
    half_v, half_u = (
        float(beam.offsets_mm(axis).abs().max()) + beam.pixel_mm[axis] / 2 for axis in (0, 1)
    )
    seen_mm = beam.source_axis_mm * math.sin(math.atan(half_u / beam.source_detector_mm))
    ends = [_ends_mm(grid, axis, beam) for axis in range(3)]
    if _truncated(lines, beam):
        for axis in (1, 2):
            low, high = ends[axis]
            ends[axis] = min(low, -BEYOND * seen_mm), max(high, BEYOND * seen_mm)
    corner = math.hypot(*(max(abs(low), abs(high)) for low, high in ends[1:]))
    far = beam.source_axis_mm + min(corner, BEYOND * seen_mm)
    reach = half_v / beam.source_detector_mm * far
    ends[0] = min(ends[0][0], -reach), max(ends[0][1], reach)
    before, after = [], []
    for axis, (low, high) in enumerate(ends):
        own_low, own_high = _ends_mm(grid, axis, beam)
        before.append(math.ceil((own_low - low) / grid.spacing_mm[axis] - 1e-6))
        after.append(math.ceil((high - own_high) / grid.spacing_mm[axis] - 1e-6))
    first = tuple(-count for count in before)
    stop = tuple(size + count for size, count in zip(grid.shape, after, strict=True))
    end = tuple(size + count for size, count in zip(grid.shape, before, strict=True))
    return grid.crop(first, stop), (tuple(before), end)  # type: ignore[arg-type,return-value]


def _ends_mm(grid: Grid, axis: int, beam: ConeBeam) -> tuple[float, float]:
    """Outer faces of the grid along an axis, from the isocentre."""
    low = grid.origin_mm[axis] - grid.spacing_mm[axis] / 2 - beam.isocentre_mm[axis]
    return low, low + grid.shape[axis] * grid.spacing_mm[axis]


def _truncated(lines: Tensor, beam: ConeBeam) -> bool:
    """Whether the patient reaches beyond a side of the detector that should see air."""
    offsets = beam.offsets_mm(1).numpy()
    outer = np.abs(offsets) > np.abs(offsets).max() - 0.5 * beam.pixel_mm[1]
    return bool(lines[..., outer.nonzero()[0]].mean() > AIR)
