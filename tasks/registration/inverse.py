"""Inverse consistency error by a second registration with fixed and moving scan exchanged."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from synthct.data.volume import Grid
from synthct.tasks.fields.geometry import working_grid
from synthct.tasks.pipeline.randomness import derive_seed, generator
from synthct.tasks.registration.align import align
from synthct.tasks.registration.methods import Method
from synthct.tasks.registration.preset import Preset
from synthct.tasks.registration.scan_pair import ScanPair

POINTS = 4000
"""Number of points in the fixed body at which the inverse consistency error is evaluated."""

MARGIN_MM = 15.0
"""Margin around the moving body on the grid of the backward registration [mm]."""


@dataclass(frozen=True)
class RoundTrip:
    """Inverse consistency error of points in the fixed body.

    Parameters
    ----------
    mean_mm, p95_mm
        Mean and 95th percentile of the length [mm].
    """

    mean_mm: float
    p95_mm: float


def register_back(
    pair: ScanPair,
    grid: Grid,
    there: sitk.Transform,
    preset: Preset,
    method: Method,
    *,
    seed: int,
    threads: int,
) -> RoundTrip | None:
    r"""Inverse consistency error :math:`|T_{back}(T(x)) - x|` of ``there``.

    A second registration with fixed and moving scan exchanged is run, independently of the first
    and at the same cost. ``None`` where it fails or no point maps into the moving scan.

    References
    ----------
    Christensen & Johnson, IEEE TMI 20 (2001) 568-582.
    """
    swapped = ScanPair(pair.moving, pair.fixed, pair.moving_body, pair.fixed_body)
    back_grid = working_grid(pair.moving_body, grid.spacing_mm, MARGIN_MM)
    steps = align(
        swapped,
        back_grid,
        preset,
        method,
        seed=derive_seed(seed, "back"),
        threads=threads,
        tell=lambda step: None,
    )
    back = steps.deformable or steps.rigid
    return None if back is None else round_trip(pair, there, back, seed=seed)


def round_trip(
    pair: ScanPair, there: sitk.Transform, back: sitk.Transform, *, seed: int
) -> RoundTrip | None:
    """Distance of points of the fixed body from their origin after ``there`` and ``back``."""
    where = np.argwhere(np.asarray(pair.fixed_body.array) > 0)
    rng = generator(seed, "round-trip")
    drawn = where[rng.choice(len(where), min(POINTS, len(where)), replace=False)]
    points = pair.fixed.grid.points(drawn)
    reached = carried(there, points)
    index = pair.moving.grid.index(reached)
    seen = ((index >= 0) & (index <= np.array(pair.moving.grid.shape) - 1)).all(axis=1)
    if not seen.any():
        return None
    home = carried(back, reached[seen]) - points[seen]
    length = np.linalg.norm(home, axis=1)
    return RoundTrip(float(length.mean()), float(np.percentile(length, 95)))


def carried(transform: sitk.Transform, points_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points (n, 3) in (z, y, x) order mapped by a transform [mm]."""
    moved = [transform.TransformPoint(tuple(map(float, point[::-1]))) for point in points_mm]
    return np.array(moved)[:, ::-1]
