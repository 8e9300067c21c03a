"""Mutual information as a function of the pose: some thousand points of a blurred pair.

Shares nothing with elastix or the torch engine, neither the measure's domain (all points that fall
into the moving scan, whatever its mask) nor the search.
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
class Sight:
    """How finely a pair is looked at.

    Parameters
    ----------
    blur_mm
        Standard deviation of the Gaussian on both scans [mm]: wide basins, or sharp peaks.
    points
        In and around the fixed body, at which poses are compared.
    """

    blur_mm: float
    points: int


COARSE, MEDIUM, FINE = Sight(4.0, 4000), Sight(2.0, 8000), Sight(2.0, 30_000)
"""A limb looks almost alike under many turns: where ``COARSE`` passed poses of a real thigh that
were 30 mm off, ``MEDIUM`` did not, and only ``FINE`` ranks its poses within 10 mm of each other."""

MARGIN_MM = 10.0
"""Around the body: the skin's edge tells as much as what it holds."""

BINS = 24
"""Of each image in the joint histogram."""

FEWEST_SHARED = 0.7
"""Share of the points in the moving scan's field that a rival must see, relative to what the
standing pose sees: a few points always agree by chance."""

ARM_MM = 80.0
"""A turn by one radian counts as a way of this length, so that all six parameters are alike."""

STEPS = 160
"""Evaluations of each local search."""

Pose = NDArray[np.float64]
"""Turns about z, y, x times ``ARM_MM`` and shifts along z, y, x [mm], about the body's middle."""


@dataclass(frozen=True, eq=False)
class Landscape:
    """Fixed values at points, and the moving scan as they fall into it."""

    points: NDArray[np.float64]
    centre: NDArray[np.float64]
    values: NDArray[np.intp]
    moving: NDArray[np.float32]
    grid: Grid
    levels: NDArray[np.float64]
    fewest: float = 0.0

    def places(self, pose: Pose) -> NDArray[np.float64]:
        """The points moved by the pose, before the standing transform."""
        turn = rotation(pose[:3] / ARM_MM)
        return np.asarray((self.points - self.centre) @ turn.T + self.centre + pose[3:])

    def seen(self, points: NDArray[np.float64], standing: Affine) -> NDArray[np.bool_]:
        """Which of the points fall into the moving scan."""
        index = self.grid.index(standing(points))
        return np.asarray(((index >= 0) & (index <= np.array(self.grid.shape) - 1)).all(axis=1))

    def information(self, pose: Pose, standing: Affine) -> float:
        """Normalised mutual information where both scans see; 1 where they hardly meet."""
        index = self.grid.index(standing(self.places(pose)))
        inside = ((index >= 0) & (index <= np.array(self.grid.shape) - 1)).all(axis=1)
        if inside.mean() < max(self.fewest, 1e-3):
            return 1.0
        there = map_coordinates(self.moving, index[inside].T, order=1, mode="nearest")
        bins = np.digitize(there, self.levels)
        joint = np.bincount(self.values[inside] * BINS + bins, minlength=BINS * BINS)
        share = joint.reshape(BINS, BINS) / joint.sum()
        together = entropy(share.ravel())
        apart = entropy(share.sum(axis=0)) + entropy(share.sum(axis=1))
        return float(apart / together) if together > 0 else 1.0

    def transform(self, pose: Pose, standing: Affine) -> sitk.Euler3DTransform:
        """The rigid ``standing`` after the pose, in ITK's order: fixed -> moving points."""
        turn = standing.matrix @ rotation(pose[:3] / ARM_MM)
        there = standing((self.centre + pose[3:])[None])[0]
        transform = sitk.Euler3DTransform()
        transform.SetCenter(self.centre[::-1].tolist())
        transform.SetMatrix(turn[::-1, ::-1].ravel().tolist(), 1e-6)
        transform.SetTranslation((there - self.centre)[::-1].tolist())
        return transform


@dataclass(frozen=True, eq=False)
class Affine:
    """A rigid or affine transform on points (n, 3) in (z, y, x) order [mm]."""

    matrix: NDArray[np.float64]
    shift: NDArray[np.float64]

    @classmethod
    def of(cls, transform: sitk.Transform) -> Affine:
        """The same mapping as a matrix: by where the origin and the unit vectors go."""
        origin = np.array(transform.TransformPoint((0.0, 0.0, 0.0)))
        ends = [np.array(transform.TransformPoint(tuple(unit))) - origin for unit in np.eye(3)]
        return cls(np.stack(ends, axis=1)[::-1, ::-1], origin[::-1])

    def __call__(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """The points moved."""
        return np.asarray(points @ self.matrix.T + self.shift)


def landscape_of(pair: ScanPair, standing: Affine, seed: int, sight: Sight = MEDIUM) -> Landscape:
    """Both scans blurred, and the points that the ``seed`` draws in and around the fixed body."""
    fixed, moving = (_blurred(scan, sight.blur_mm) for scan in (pair.fixed, pair.moving))
    body = resample(pair.fixed_body, fixed.grid, outside=0, nearest=True)
    there = resample(pair.moving_body, moving.grid, outside=0, nearest=True)
    where = np.flatnonzero(grown(body.array, fixed.grid.spacing_mm, MARGIN_MM))
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.choice(len(where), min(sight.points, len(where)), replace=False))
    drawn = np.stack(np.unravel_index(where[chosen], fixed.grid.shape), axis=1)
    values = fixed.array[tuple(drawn.T)]
    points = fixed.grid.points(drawn)
    inside = moving.array[np.asarray(there.array) > 0]
    land = Landscape(
        points=points,
        centre=points.mean(axis=0),
        values=np.digitize(values, _levels(values)),
        moving=np.asarray(moving.array),
        grid=moving.grid,
        levels=_levels(inside if inside.size else moving.array),
    )
    return replace(land, fewest=FEWEST_SHARED * float(land.seen(points, standing).mean()))


def _blurred(scan: Volume, blur_mm: float) -> Volume:
    """Blurred, on voxels of about the blur's size, which it makes enough of."""
    factors = [max(1, int(blur_mm // step)) for step in scan.grid.spacing_mm]
    image = sitk.BinShrink(to_itk(scan.with_array(scan.array.astype(np.float32))), factors[::-1])
    small = from_itk(image, scan.modality)
    sigma = [blur_mm / step for step in small.grid.spacing_mm]
    return small.with_array(gaussian_filter(small.array, sigma))


def _levels(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """Inner borders of the histogram's bins."""
    low, high = np.percentile(values, (TAILS_PERCENT, 100 - TAILS_PERCENT))
    return np.linspace(low, high, BINS + 1)[1:-1]


def climb(land: Landscape, standing: Affine, start: Pose) -> tuple[Pose, float]:
    """The best pose near ``start`` by Powell's search, and its information."""
    # First steps of 8 mm; ends at half a millimetre, far below what counts as another pose.
    options: Any = {"maxfev": STEPS, "xtol": 0.5, "ftol": 1e-4, "direc": 8.0 * np.eye(6)}

    def loss(pose: Any) -> float:
        return -land.information(pose, standing)

    found = minimize(loss, start.ravel(), method="Powell", options=options)
    return np.asarray(found.x), -float(found.fun)


def nearest_peak(pair: ScanPair, start: sitk.Transform, *, seed: int) -> sitk.Euler3DTransform:
    """The most informative rigid pose that a local search from the rigid ``start`` reaches."""
    stands = Affine.of(start)
    land = landscape_of(pair, stands, seed, FINE)
    pose, _ = climb(land, stands, np.zeros(6))
    return land.transform(pose, stands)


def distance_of(land: Landscape, standing: Affine, first: Pose, second: Pose) -> float:
    """Mean distance of the points under two poses [mm]."""
    apart = standing(land.places(first)) - standing(land.places(second))
    return float(np.linalg.norm(apart, axis=1).mean())


def rotation(turns: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rotation by angles about z, y, x [rad], in (z, y, x) order: exponential of the axis-angle."""
    a, b, c = turns
    cross = np.array([[0.0, -c, b], [c, 0.0, -a], [-b, a, 0.0]])
    angle = float(np.linalg.norm(turns))
    if angle < 1e-12:
        return np.eye(3)
    return np.asarray(
        np.eye(3) + np.sin(angle) / angle * cross + (1 - np.cos(angle)) / angle**2 * (cross @ cross)
    )
