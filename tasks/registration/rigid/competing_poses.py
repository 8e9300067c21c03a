"""Other poses that would explain a pair as well: whether the rigid step is alone believable.

A registration that ended in the wrong place has raised its own similarity, and often every other.
What gives it away is the rest of the landscape: some far pose is better still, or the pose that
stands is no better than chance. So a handful of far starts is searched coarsely, on a few thousand
points, by a search that shares nothing with the engine that is judged.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
import SimpleITK as sitk

from synthct.tasks.registration.rigid.landscape import (
    ARM_MM,
    Affine,
    Pose,
    climb,
    distance_of,
    landscape_of,
)
from synthct.tasks.registration.scan_pair import ScanPair

TURN_RAD = np.deg2rad(30.0)
SHIFT_MM = 40.0


@dataclass(frozen=True)
class CompetingPoses:
    """What other starts found.

    Parameters
    ----------
    standing
        Normalised mutual information of the standing pose [1].
    chance
        Best of the far starts as they are, without any search [1].
    best
        Best pose that a search ended in and that is far from the standing one; 1 (nothing) where
        all came back [1].
    distance_mm
        How far that pose is: mean over the points [mm]; 0 where all came back.
    returned
        Share of the searches that ended within ``near_mm`` of the standing pose [1].
    spread_mm
        Median distance of where the searches ended from the standing pose [mm].
    """

    standing: float
    chance: float
    best: float
    distance_mm: float
    returned: float
    spread_mm: float

    @property
    def gain(self) -> float:
        """By which share (information - 1) of the best rival exceeds the standing pose's."""
        return (self.best - 1) / max(self.standing - 1, 1e-9) - 1


def find_rivals(
    pair: ScanPair, standing: sitk.Transform, *, starts: int, near_mm: float, seed: int
) -> CompetingPoses:
    """Search from the standing pose and from the ``starts`` best of the far ones.

    ``standing`` is the rigid step (fixed -> moving points); a pose further than ``near_mm`` from
    it (mean over the points) is another one. One seed gives the same bytes.
    """
    stands = Affine.of(standing)
    land = landscape_of(pair, stands, seed)
    still = np.zeros(6)
    far = sorted(_far_poses(), key=lambda pose: -land.information(pose, stands))
    ended = [climb(land, stands, pose) for pose in (still, *far[:starts])]
    distances = [distance_of(land, stands, still, pose) for pose, _ in ended]
    away = [
        (information, distance)
        for (_, information), distance in zip(ended, distances, strict=True)
        if distance > near_mm
    ]
    best, distance = max(away, default=(1.0, 0.0))
    return CompetingPoses(
        standing=land.information(still, stands),
        chance=land.information(far[0], stands),
        best=best,
        distance_mm=distance,
        returned=float(np.mean([distance <= near_mm for distance in distances])),
        spread_mm=float(np.median(distances)),
    )


def _far_poses() -> list[Pose]:
    """Turns about one axis and shifts along one, both ways."""
    poses = []
    for axis, sign in product(range(3), (-1.0, 1.0)):
        turn, shift = np.zeros(6), np.zeros(6)
        turn[axis] = sign * TURN_RAD * ARM_MM
        shift[3 + axis] = sign * SHIFT_MM
        poses += [turn, shift]
    return poses
