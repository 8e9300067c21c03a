"""Search for competing poses of similar quality, to check whether the rigid pose is unique.

A registration that converged to a wrong local optimum has still raised its own similarity, and
often every other. It shows in the similarity of other poses: a distant pose is better still, or
the rigid pose is no better than chance. A few distant starting poses are therefore optimised on a
few thousand points, by a search independent of the engine under test.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import numpy as np
import SimpleITK as sitk

from synthct.tasks.registration.rigid.bone_pose import MIN_CONTRAST, BoneContrast
from synthct.tasks.registration.rigid.landscape import (
    ARM_MM,
    Affine,
    Landscape,
    Pose,
    distance_of,
    landscape_of,
    local_optimum,
)
from synthct.tasks.registration.scan_pair import ScanPair

TURN_RAD = np.deg2rad(30.0)
SHIFT_MM = 40.0


@dataclass(frozen=True)
class CompetingPoses:
    """Result of the searches from other starting poses.

    Parameters
    ----------
    rigid
        Normalised mutual information of the rigid pose [1].
    chance
        Highest normalised mutual information of the distant starting poses, unoptimised [1].
    best
        Highest normalised mutual information of a local optimum far from the rigid pose; 1 (no
        information) if all searches returned to it [1].
    distance_mm
        Mean distance of that optimum over the points [mm]; 0 if all searches returned.
    returned
        Fraction of the searches that ended within ``near_mm`` of the rigid pose [1].
    spread_mm
        Median distance of the searches' end poses from the rigid pose [mm].
    """

    rigid: float
    chance: float
    best: float
    distance_mm: float
    returned: float
    spread_mm: float

    @property
    def gain(self) -> float:
        """Relative excess of (information - 1) of the best competing pose over the rigid pose."""
        return (self.best - 1) / max(self.rigid - 1, 1e-9) - 1


def find_competing_poses(
    pair: ScanPair, rigid: sitk.Transform, *, starts: int, near_mm: float, seed: int
) -> CompetingPoses:
    """Search from the rigid pose and from the ``starts`` best of the distant poses.

    ``rigid`` is the rigid step (fixed -> moving points); a pose further than ``near_mm`` from it
    (mean over the points) is a competing pose. Where an MR shows the bone of the CT at ``rigid``
    (:class:`BoneContrast`), poses with less bone contrast do not compete: they fit soft tissue,
    which deforms. Reproducible for a given seed.
    """
    current = Affine.of(rigid)
    landscape = landscape_of(pair, current, seed)
    still = np.zeros(6)
    far = sorted(_far_poses(), key=lambda pose: -landscape.information(pose, current))
    ended = [local_optimum(landscape, current, pose) for pose in (still, *far[:starts])]
    distances = [distance_of(landscape, current, still, pose) for pose, _ in ended]
    shows_bone = _bone_test(pair, landscape, current, seed)
    away = [
        (information, distance)
        for (pose, information), distance in zip(ended, distances, strict=True)
        if distance > near_mm and shows_bone(pose)
    ]
    best, distance = max(away, default=(1.0, 0.0))
    return CompetingPoses(
        rigid=landscape.information(still, current),
        chance=landscape.information(far[0], current),
        best=best,
        distance_mm=distance,
        returned=float(np.mean([distance <= near_mm for distance in distances])),
        spread_mm=float(np.median(distances)),
    )


def _bone_test(
    pair: ScanPair, landscape: Landscape, current: Affine, seed: int
) -> Callable[[Pose], bool]:
    """Whether bone contrast at a pose equals that at the rigid one, if there is any there."""
    bone = BoneContrast.of(pair, seed)
    there = None if bone is None else bone.at(current)
    if bone is None or there is None or there < MIN_CONTRAST:
        return lambda pose: True

    def shows(pose: Pose) -> bool:
        found = bone.at(Affine.of(landscape.transform(pose, current)))
        return found is not None and found >= there

    return shows


def _far_poses() -> list[Pose]:
    """Rotations about each axis and translations along each axis, in both directions."""
    poses = []
    for axis, sign in product(range(3), (-1.0, 1.0)):
        turn, shift = np.zeros(6), np.zeros(6)
        turn[axis] = sign * TURN_RAD * ARM_MM
        shift[3 + axis] = sign * SHIFT_MM
        poses += [turn, shift]
    return poses
