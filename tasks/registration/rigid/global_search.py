"""A start from anywhere: poses by the hundred, compared coarsely, and the best of them climbed.

Only for a pair on which the ordinary starts failed: it costs half a minute and knows nothing of
where a scanner puts its patients.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import numpy as np
import SimpleITK as sitk

from synthct.tasks.fields.geometry import centre_of_mass_mm
from synthct.tasks.pipeline.randomness import derive_seed
from synthct.tasks.registration.rigid.landscape import (
    ARM_MM,
    COARSE,
    FINE,
    MEDIUM,
    Affine,
    Landscape,
    Pose,
    climb,
    distance_of,
    landscape_of,
)
from synthct.tasks.registration.rigid.starts import shift_transform
from synthct.tasks.registration.scan_pair import ScanPair

TURNS_DEG = (-40.0, -20.0, 0.0, 20.0, 40.0)
"""About each axis, in all combinations: a basin of mutual information is some 20 degrees wide."""

SHIFTS_MM = (-100.0, -50.0, 0.0, 50.0, 100.0)
"""Along the first axis, in which scans are cut: the others are known from the body's centre."""

FEWEST_SEEN = 0.6
"""Share of the points that must lie in the moving scan: a few points always agree by chance."""

CLIMBED = 20
"""Candidates from which the search goes on."""

APART_MM = 25.0
"""Candidates nearer to a better one than this would end where that one ends [mm]."""

KEPT = 4
"""Of them, which go on at the finest sight."""

HOPS, HOP_MM = 16, 8.0
"""Random steps from the best, and their standard deviation in each parameter [mm]: peaks lie in
rows along a ridge where a limb is turned about itself or slides along itself."""

PATIENCE = 6
"""Hops in a row without gain after which the search ends."""


def find_pose(pair: ScanPair, *, seed: int) -> tuple[sitk.Euler3DTransform, float]:
    """The most informative rigid pose (fixed -> moving points) and its mutual information.

    A lattice of poses and climbs from the best of it, coarsely; climbs from where those ended,
    finer; then basin hopping from the best. One seed gives the same bytes.

    References
    ----------
    Wales & Doye, J. Phys. Chem. A 101 (1997) 5111-5116.
    """
    standing = _centres_joined(pair)
    stands = Affine.of(standing)
    coarse, medium, fine = (
        replace(landscape_of(pair, stands, seed, sight), fewest=FEWEST_SEEN)
        for sight in (COARSE, MEDIUM, FINE)
    )
    poses = [climb(coarse, stands, pose)[0] for pose in _candidates(coarse, stands)]
    poses = [pose for pose, _ in _ranked(medium, stands, poses)[:KEPT]]
    best, information = _ranked(fine, stands, poses)[0]
    rng = np.random.default_rng(derive_seed(seed, "hops"))
    idle = 0
    for _ in range(HOPS):
        pose, there = climb(fine, stands, best + HOP_MM * rng.normal(size=6))
        idle = 0 if there > information else idle + 1
        if there > information:
            best, information = pose, there
        if idle == PATIENCE:
            break
    return fine.transform(best, stands), information


def _ranked(land: Landscape, stands: Affine, poses: Sequence[Pose]) -> list[tuple[Pose, float]]:
    """Where climbs from the poses end, the most informative first."""
    return sorted((climb(land, stands, pose) for pose in poses), key=lambda end: -end[1])


def _candidates(land: Landscape, stands: Affine) -> list[Pose]:
    """The most informative poses of the lattice, none near another."""
    lattice = []
    for *turn, shift in product(TURNS_DEG, TURNS_DEG, TURNS_DEG, SHIFTS_MM):
        pose = np.zeros(6)
        pose[:3] = np.deg2rad(turn) * ARM_MM
        pose[3] = shift
        lattice.append((land.information(pose, stands), pose))
    lattice.sort(key=lambda entry: -entry[0])
    kept: list[Pose] = []
    for _, pose in lattice:
        if all(distance_of(land, stands, pose, other) > APART_MM for other in kept):
            kept.append(pose)
        if len(kept) == CLIMBED:
            break
    return kept


def _centres_joined(pair: ScanPair) -> sitk.TranslationTransform:
    first, second = centre_of_mass_mm(pair.fixed_body), centre_of_mass_mm(pair.moving_body)
    return shift_transform((second[0] - first[0], second[1] - first[1], second[2] - first[2]))
