"""Mutual information as a function of the pose, on some thousand points of a blurred pair.

Independent of elastix and the torch engine in both the evaluated points (all that fall into the
moving scan, regardless of its mask) and the search.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates
from scipy.optimize import minimize

from synthct.data.itk import from_itk, resample, to_itk
from synthct.data.volume import Grid, Volume
from synthct.tasks.fields.geometry import grown
from synthct.tasks.registration.agreement import TAILS_PERCENT, entropy
from synthct.tasks.registration.scan_pair import ScanPair


@dataclass(frozen=True)
class Resolution:
    """Resolution at which a pair is compared.

    Parameters
    ----------
    blur_mm
        Standard deviation of the Gaussian on both scans [mm]: larger for a wider capture range,
        smaller for sharper optima.
    points
        Number of points in and around the fixed body at which poses are compared.
    """

    blur_mm: float
    points: int


COARSE, MEDIUM, FINE = Resolution(4.0, 4000), Resolution(2.0, 8000), Resolution(2.0, 30_000)
"""Resolutions of the search. A limb is nearly symmetric under rotation: ``COARSE`` accepted poses
of a real thigh with 30 mm error, ``MEDIUM`` did not; only ``FINE`` ranks poses within 10 mm."""

MARGIN_MM = 10.0
"""Margin around the body in which points are drawn, so that the skin surface counts [mm]."""

BINS = 24
"""Number of bins per image in the joint histogram."""

MIN_SHARED = 0.7
"""Minimum fraction of points inside the moving scan for a competing pose, relative to the rigid
pose: few points agree by chance [1]."""

ARM_MM = 80.0
"""Lever arm that converts rotations to lengths, so that all six parameters scale alike [mm/rad]."""

STEPS = 160
"""Maximum number of evaluations of each local search."""

Pose = NDArray[np.float64]
"""Rotations about z, y, x times ``ARM_MM`` and translations along z, y, x [mm], about the points'
centre."""


@dataclass(frozen=True, eq=False)
class Landscape:
    """Fixed-image values at sample points, and the moving scan in which they are located."""

    points: NDArray[np.float64]
    centre: NDArray[np.float64]
    values: NDArray[np.intp]
    moving: NDArray[np.float32]
    grid: Grid
    levels: NDArray[np.float64]
    min_inside: float = 0.0

    def places(self, pose: Pose) -> NDArray[np.float64]:
        """The points transformed by the pose, before the rigid transform is applied."""
        turn = rotation(pose[:3] / ARM_MM)
        return np.asarray((self.points - self.centre) @ turn.T + self.centre + pose[3:])

    def seen(self, points: NDArray[np.float64], current: Affine) -> NDArray[np.bool_]:
        """Mask of the points that fall into the moving scan."""
        index = self.grid.index(current(points))
        return np.asarray(((index >= 0) & (index <= np.array(self.grid.shape) - 1)).all(axis=1))

    def information(self, pose: Pose, current: Affine) -> float:
        """Normalised mutual information in the overlap; 1 if the overlap is too small."""
        index = self.grid.index(current(self.places(pose)))
        inside = ((index >= 0) & (index <= np.array(self.grid.shape) - 1)).all(axis=1)
        if inside.mean() < max(self.min_inside, 1e-3):
            return 1.0
        there = map_coordinates(self.moving, index[inside].T, order=1, mode="nearest")
        bins = np.digitize(there, self.levels)
        joint = np.bincount(self.values[inside] * BINS + bins, minlength=BINS * BINS)
        share = joint.reshape(BINS, BINS) / joint.sum()
        together = entropy(share.ravel())
        apart = entropy(share.sum(axis=0)) + entropy(share.sum(axis=1))
        return float(apart / together) if together > 0 else 1.0

    def transform(self, pose: Pose, current: Affine) -> sitk.Euler3DTransform:
        """The pose, then the rigid ``current``, in ITK's axis order: fixed -> moving points."""
        turn = current.matrix @ rotation(pose[:3] / ARM_MM)
        there = current((self.centre + pose[3:])[None])[0]
        transform = sitk.Euler3DTransform()
        transform.SetCenter(self.centre[::-1].tolist())
        transform.SetMatrix(turn[::-1, ::-1].ravel().tolist(), 1e-6)
        transform.SetTranslation((there - self.centre)[::-1].tolist())
        return transform


@dataclass(frozen=True, eq=False)
class Affine:
    """A rigid or affine transform of points (n, 3) in (z, y, x) order [mm]."""

    matrix: NDArray[np.float64]
    shift: NDArray[np.float64]

    @classmethod
    def of(cls, transform: sitk.Transform) -> Affine:
        """Matrix and translation, from the images of the origin and the unit vectors."""
        origin = np.array(transform.TransformPoint((0.0, 0.0, 0.0)))
        ends = [np.array(transform.TransformPoint(tuple(unit))) - origin for unit in np.eye(3)]
        return cls(np.stack(ends, axis=1)[::-1, ::-1], origin[::-1])

    def __call__(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """The transformed points."""
        return np.asarray(points @ self.matrix.T + self.shift)


def landscape_of(
    pair: ScanPair, current: Affine, seed: int, resolution: Resolution = MEDIUM
) -> Landscape:
    """Blurred scans, and points drawn in and around the fixed body with the given ``seed``."""
    fixed, moving = (_blurred(scan, resolution.blur_mm) for scan in (pair.fixed, pair.moving))
    body = resample(pair.fixed_body, fixed.grid, outside=0, nearest=True)
    there = resample(pair.moving_body, moving.grid, outside=0, nearest=True)
    where = np.flatnonzero(grown(body.array, fixed.grid.spacing_mm, MARGIN_MM))
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.choice(len(where), min(resolution.points, len(where)), replace=False))
    drawn = np.stack(np.unravel_index(where[chosen], fixed.grid.shape), axis=1)
    values = fixed.array[tuple(drawn.T)]
    points = fixed.grid.points(drawn)
    inside = moving.array[np.asarray(there.array) > 0]
    landscape = Landscape(
        points=points,
        centre=points.mean(axis=0),
        values=np.digitize(values, _levels(values)),
        moving=np.asarray(moving.array),
        grid=moving.grid,
        levels=_levels(inside if inside.size else moving.array),
    )
    return replace(landscape, min_inside=MIN_SHARED * float(landscape.seen(points, current).mean()))


def _blurred(scan: Volume, blur_mm: float) -> Volume:
    """The scan blurred and downsampled to voxels of about the blur's size."""
    factors = [max(1, int(blur_mm // step)) for step in scan.grid.spacing_mm]
    image = sitk.BinShrink(to_itk(scan.with_array(scan.array.astype(np.float32))), factors[::-1])
    small = from_itk(image, scan.modality)
    sigma = [blur_mm / step for step in small.grid.spacing_mm]
    return small.with_array(gaussian_filter(small.array, sigma))


def _levels(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """Inner bin edges of the histogram, between clipping percentiles."""
    low, high = np.percentile(values, (TAILS_PERCENT, 100 - TAILS_PERCENT))
    return np.linspace(low, high, BINS + 1)[1:-1]


def local_optimum(landscape: Landscape, current: Affine, start: Pose) -> tuple[Pose, float]:
    """Local optimum near ``start`` by Powell's method, and its mutual information."""
    # Initial steps of 8 mm; tolerance 0.5 mm, far below the distance of a competing pose.
    options: Any = {"maxfev": STEPS, "xtol": 0.5, "ftol": 1e-4, "direc": 8.0 * np.eye(6)}

    def loss(pose: Any) -> float:
        return -landscape.information(pose, current)

    found = minimize(loss, start.ravel(), method="Powell", options=options)
    return np.asarray(found.x), -float(found.fun)


def nearest_peak(pair: ScanPair, start: sitk.Transform, *, seed: int) -> sitk.Euler3DTransform:
    """Local optimum of the mutual information, searched from the rigid ``start``."""
    current = Affine.of(start)
    landscape = landscape_of(pair, current, seed, FINE)
    pose, _ = local_optimum(landscape, current, np.zeros(6))
    return landscape.transform(pose, current)


def distance_of(landscape: Landscape, current: Affine, first: Pose, second: Pose) -> float:
    """Mean distance between the points under two poses [mm]."""
    apart = current(landscape.places(first)) - current(landscape.places(second))
    return float(np.linalg.norm(apart, axis=1).mean())


def rotation(turns: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rotation matrix of a rotation vector (z, y, x) [rad], in (z, y, x) order."""
    a, b, c = turns
    cross = np.array([[0.0, -c, b], [c, 0.0, -a], [-b, a, 0.0]])
    angle = float(np.linalg.norm(turns))
    if angle < 1e-12:
        return np.eye(3)
    return np.asarray(
        np.eye(3) + np.sin(angle) / angle * cross + (1 - np.cos(angle)) / angle**2 * (cross @ cross)
    )
