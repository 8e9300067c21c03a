"""Rigid alignment by bone: dense bone gives no MR signal and must lie where the MR is dark.

Limbs and trunks lie differently on two tables. Most of the body is soft tissue, so a rigid
transform of highest mutual information follows it and may misalign bone by centimetres. But only
bone moves rigidly, and a deformable step cannot correct its position.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates
from scipy.optimize import minimize

from synthct.data.itk import resample
from synthct.data.volume import Grid, Modality
from synthct.tasks.fields.geometry import grown
from synthct.tasks.registration.bone import SHELL_MM, SOFT_HU, large_bone
from synthct.tasks.registration.rigid.landscape import ARM_MM, Affine, landscape_of, rotation
from synthct.tasks.registration.scan_pair import ScanPair

VOXEL_MM = 2.0
"""Smallest voxel size of the search, about the thickness of thin cortex [mm]."""

POINTS = 6000
"""Number of points in bone, and in the soft tissue around it, at which poses are compared."""

MIN_POINTS = 200
"""Minimum number of points of each for a comparison."""

LEVELS = 256
"""Number of quantiles used to convert MR intensities into ranks."""

NEUTRAL = 0.5
"""Rank outside the body of the MR [1]: bone in air scores as at a random position."""

IDENTITY_POSE = np.zeros(6)
"""The pose that changes nothing."""

FARTHEST_MM = 30.0
"""Largest mean distance of bone and points around it from their places at the start [mm]: beyond,
another bone, or the limb turned round, may fit."""

MOTION_POINTS = 60
"""Number of points of bone, and around it, whose mean distance is kept below ``FARTHEST_MM``."""

STEP_MM, STEPS = 4.0, 400
"""Initial steps of the search [mm], and the maximum number of evaluations."""

BLUR_MM = 6.0
"""Standard deviation of the Gaussian on the ranks in the first of two searches [mm]: a tube of
cortex becomes one dark place, which is found from further away."""

MIN_CONTRAST = 0.12
"""Smallest contrast at which the MR is taken to show the bone at all [1]."""

MIN_GAIN = 0.01
"""Smallest gain of contrast for which a pose is changed [1]; less is noise."""

REST_WEIGHT = 0.25
"""Weight of the mutual information of the whole body (relative to the first start) against the
contrast of bone [1]: a straight bone alone does not determine the rotation about its axis."""

KEPT_INFORMATION = 0.8
"""Share of a start's (normalised mutual information - 1) that a pose must retain [1]: otherwise
bone was moved onto another dark place, such as fascia, a vessel or air."""


@dataclass(frozen=True, eq=False)
class BoneContrast:
    """Points of bone and of soft tissue near it in the CT, and the ranks of the MR's intensities.

    Parameters
    ----------
    bone, shell
        Points (n, 3) in the CT's space, (z, y, x) [mm].
    ranks
        Rank of each voxel of the MR (Z, Y, X) among those of its body: 0 darkest, 1 brightest.
    body
        Voxels of the MR that are in its body.
    grid
        Grid of the MR.
    """

    bone: NDArray[np.float64]
    shell: NDArray[np.float64]
    ranks: NDArray[np.float32]
    body: NDArray[np.uint8]
    grid: Grid

    @classmethod
    def of(cls, pair: ScanPair, seed: int) -> BoneContrast | None:
        """For an MR as the fixed and a CT as the moving scan; None for others or without bone."""
        if (pair.fixed.modality, pair.moving.modality) != (Modality.MR, Modality.CT):
            return None
        z, y, x = (max(VOXEL_MM, step) for step in pair.moving.grid.spacing_mm)
        grid = pair.moving.grid.with_spacing((z, y, x))
        ct = np.asarray(resample(pair.moving, grid, outside=-1024.0).array)
        body = np.asarray(resample(pair.moving_body, grid, outside=0, nearest=True).array) > 0
        bone = large_bone(ct, grid.spacing_mm)
        inner, outer = (grown(bone, grid.spacing_mm, reach) > 0 for reach in SHELL_MM)
        shell = outer & ~inner & (ct > SOFT_HU[0]) & (ct < SOFT_HU[1])
        rng = np.random.default_rng(seed)
        drawn = [_drawn(part & body, grid, rng) for part in (bone, shell)]
        if min(map(len, drawn)) < MIN_POINTS:
            return None
        mr, there = np.asarray(pair.fixed.array), np.asarray(pair.fixed_body.array) > 0
        ranks = _ranks(mr, there)
        return cls(drawn[0], drawn[1], ranks, there.astype(np.uint8), pair.fixed.grid)

    def seen(self, back: Affine) -> BoneContrast | None:
        """The points that ``back`` maps into the body of the MR; None if these are too few."""
        bone, shell = (
            points[self._rank(back(points), -1.0) >= 0] for points in (self.bone, self.shell)
        )
        if min(len(bone), len(shell)) < MIN_POINTS:
            return None
        return replace(self, bone=bone, shell=shell)

    def at(self, pose: Affine) -> float | None:
        """The contrast at a pose from MR to CT; None if too few points lie in the MR's body."""
        back = _inverse(pose)
        points = self.seen(back)
        return None if points is None else points.value(back)

    def blurred(self, width_mm: float) -> BoneContrast:
        """The same points over ranks that are averaged by a Gaussian inside the body."""
        sigma = [width_mm / step for step in self.grid.spacing_mm]
        inside = self.body.astype(np.float32)
        weight = gaussian_filter(inside, sigma, mode="constant")
        smooth = gaussian_filter(self.ranks * inside, sigma, mode="constant")
        return replace(self, ranks=(smooth / np.maximum(weight, 1e-3)).astype(np.float32))

    def value(self, move: Affine) -> float:
        """Mean rank of soft tissue minus that of bone, at the points mapped by ``move`` [1]."""
        shell, bone = (self._rank(move(points), NEUTRAL) for points in (self.shell, self.bone))
        return float(shell.mean() - bone.mean())

    def _rank(self, points: NDArray[np.float64], outside: float) -> NDArray[np.float32]:
        index = self.grid.index(points).T
        found: NDArray[np.float32] = map_coordinates(
            self.ranks, index, order=1, mode="constant", cval=outside
        )
        there = map_coordinates(self.body, np.rint(index), order=0, mode="constant", cval=0)
        found[there == 0] = outside
        return found


def bone_pose(
    pair: ScanPair, starts: Sequence[sitk.Transform], *, seed: int
) -> sitk.Euler3DTransform | None:
    r"""The pose near ``starts`` at which dense bone of the CT lies on the darkest places of the MR.

    From each start, Powell's method climbs

    .. math:: \bar q_s(T) - \bar q_b(T) + w \frac{I(T) - 1}{I(T_0) - 1}

    with the mean ranks :math:`q` of the MR's intensities at points of soft tissue near bone and
    at points of bone, and the normalised mutual information :math:`I` of the whole body.

    Parameters
    ----------
    pair
        An MR as the fixed and a CT as the moving scan.
    starts
        Rigid transforms from fixed to moving points; the first, :math:`T_0`, is that to improve on.
    seed
        Seed of the points.

    Returns
    -------
    Euler3DTransform or None
        From fixed to moving points. None for other pairs, without enough bone in view, and where
        no pose puts bone on darker places than the first start does and leaves the agreement that
        the rest has at its own start (``KEPT_INFORMATION``).
    """
    whole = BoneContrast.of(pair, seed)
    if whole is None:
        return None
    first = Affine.of(starts[0])
    landscape = landscape_of(pair, first, seed)
    at_first = max(landscape.information(IDENTITY_POSE, first) - 1, 1e-9)

    def rest(back: Affine) -> float:
        return (landscape.information(IDENTITY_POSE, _inverse(back)) - 1) / at_first

    best, found = MIN_CONTRAST, None
    for number, start in enumerate(starts):
        back = _inverse(Affine.of(start))
        points = whole.seen(back)
        if points is None:
            continue
        if number == 0:
            best = max(best, points.value(back) + MIN_GAIN)
        least = KEPT_INFORMATION * rest(back)
        for begin in (back, _local_optimum(points.blurred(BLUR_MM), rest, back, back)):
            move = _local_optimum(points, rest, back, begin)
            value = points.value(move)
            if value > best and rest(move) >= least:
                best = value
                found = _as_transform(_inverse(move), back(points.bone).mean(axis=0))
    return found


def _local_optimum(
    points: BoneContrast, rest: Callable[[Affine], float], back: Affine, begin: Affine
) -> Affine:
    """The local optimum near ``begin`` (CT to MR), at most ``FARTHEST_MM`` from ``back``."""
    centre = begin(points.bone).mean(axis=0)
    arms = np.concatenate([np.eye(3), -np.eye(3)]) * ARM_MM
    some = np.concatenate(
        [points.bone[:: max(1, len(points.bone) // MOTION_POINTS)], _around(points, arms)]
    )
    placed = back(some)

    def moved(pose: NDArray[np.float64]) -> Affine:
        turn = rotation(pose[:3] / ARM_MM)
        return Affine(turn @ begin.matrix, turn @ (begin.shift - centre) + centre + pose[3:])

    def loss(pose: Any) -> float:
        move = moved(pose)
        if float(np.linalg.norm(move(some) - placed, axis=1).mean()) > FARTHEST_MM:
            return 0.0
        return -points.value(move) - REST_WEIGHT * rest(move)

    options: Any = {"maxfev": STEPS, "xtol": 0.2, "ftol": 1e-4, "direc": STEP_MM * np.eye(6)}
    found = minimize(loss, np.zeros(6), method="Powell", options=options)
    return moved(np.asarray(found.x)) if found.fun < loss(np.zeros(6)) else begin


def _around(points: BoneContrast, arms: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points on all sides of the bone, which a rotation about its axis also moves."""
    return np.asarray(points.bone.mean(axis=0) + arms.repeat(MOTION_POINTS // len(arms), axis=0))


def _inverse(transform: Affine) -> Affine:
    matrix = np.asarray(np.linalg.inv(transform.matrix), np.float64)
    return Affine(matrix, -matrix @ transform.shift)


def _as_transform(affine: Affine, centre: NDArray[np.float64]) -> sitk.Euler3DTransform:
    transform = sitk.Euler3DTransform()
    transform.SetCenter(centre[::-1].tolist())
    transform.SetMatrix(affine.matrix[::-1, ::-1].ravel().tolist(), 1e-6)
    transform.SetTranslation((affine(centre[None])[0] - centre)[::-1].tolist())
    return transform


def _drawn(mask: NDArray[np.bool_], grid: Grid, rng: np.random.Generator) -> NDArray[np.float64]:
    """At most ``POINTS`` voxels of the mask, as points [mm]."""
    where = np.flatnonzero(mask)
    chosen = np.sort(rng.choice(len(where), min(POINTS, len(where)), replace=False))
    return grid.points(np.stack(np.unravel_index(where[chosen], grid.shape), axis=1))


def _ranks(values: NDArray[Any], body: NDArray[np.bool_]) -> NDArray[np.float32]:
    levels = np.linspace(0, 1, LEVELS + 1)
    ranks: NDArray[np.float32] = np.interp(values, np.quantile(values[body], levels), levels)
    return ranks.astype(np.float32)
