"""Global rigid search: a lattice of hundreds of poses, with local searches from the best.

Only for pairs on which the ordinary initialisations failed: it takes half a minute and uses no
prior knowledge of patient positioning.
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
    distance_of,
    landscape_of,
    local_optimum,
)
from synthct.tasks.registration.rigid.starts import shift_transform
from synthct.tasks.registration.scan_pair import ScanPair

TURNS_DEG = (-40.0, -20.0, 0.0, 20.0, 40.0)
"""Rotations about each axis, in all combinations; mutual information has a capture range of some
20 degrees [degrees]."""

SHIFTS_MM = (-100.0, -50.0, 0.0, 50.0, 100.0)
"""Translations along the first axis, in which scans are truncated; the others are known from the
body's centre [mm]."""

MIN_INSIDE = 0.6
"""Minimum fraction of points inside the moving scan: few points agree by chance [1]."""

LOCAL_SEARCHES = 20
"""Number of candidate poses from which local searches start."""

MIN_DISTANCE_MM = 25.0
"""Minimum distance between candidates: closer ones would reach the same optimum [mm]."""

REFINED = 4
"""Number of candidates that are refined at the finest resolution."""

HOPS, HOP_MM = 16, 8.0
"""Number of random steps from the best pose, and their standard deviation per parameter [mm]:
rotating or sliding a limb along its axis passes a series of local optima."""

PATIENCE = 6
"""Number of consecutive random steps without improvement after which the search ends."""


def find_pose(pair: ScanPair, *, seed: int) -> tuple[sitk.Euler3DTransform, float]:
    """The rigid pose (fixed -> moving points) of highest mutual information, and that value.

    A coarse lattice of poses with local searches from its best poses; finer local searches from
    the results; then basin hopping from the best. Reproducible for a given seed.

    References
    ----------
    Wales & Doye, J. Phys. Chem. A 101 (1997) 5111-5116.
    """
    current = Affine.of(_centres_joined(pair))
    coarse, medium, fine = (
        replace(landscape_of(pair, current, seed, resolution), min_inside=MIN_INSIDE)
        for resolution in (COARSE, MEDIUM, FINE)
    )
    poses = [local_optimum(coarse, current, pose)[0] for pose in _candidates(coarse, current)]
    poses = [pose for pose, _ in _ranked(medium, current, poses)[:REFINED]]
    best, information = _ranked(fine, current, poses)[0]
    rng = np.random.default_rng(derive_seed(seed, "hops"))
    idle = 0
    for _ in range(HOPS):
        pose, there = local_optimum(fine, current, best + HOP_MM * rng.normal(size=6))
        idle = 0 if there > information else idle + 1
        if there > information:
            best, information = pose, there
        if idle == PATIENCE:
            break
    return fine.transform(best, current), information


def _ranked(
    landscape: Landscape, current: Affine, poses: Sequence[Pose]
) -> list[tuple[Pose, float]]:
    """Results of local searches from the poses, in descending order of mutual information."""
    return sorted(
        (local_optimum(landscape, current, pose) for pose in poses), key=lambda end: -end[1]
    )


def _candidates(landscape: Landscape, current: Affine) -> list[Pose]:
    """Lattice poses of highest mutual information, none close to another."""
    lattice = []
    for *turn, shift in product(TURNS_DEG, TURNS_DEG, TURNS_DEG, SHIFTS_MM):
        pose = np.zeros(6)
        pose[:3] = np.deg2rad(turn) * ARM_MM
        pose[3] = shift
        lattice.append((landscape.information(pose, current), pose))
    lattice.sort(key=lambda entry: -entry[0])
    kept: list[Pose] = []
    for _, pose in lattice:
        if all(distance_of(landscape, current, pose, other) > MIN_DISTANCE_MM for other in kept):
            kept.append(pose)
        if len(kept) == LOCAL_SEARCHES:
            break
    return kept


def _centres_joined(pair: ScanPair) -> sitk.TranslationTransform:
    first, second = centre_of_mass_mm(pair.fixed_body), centre_of_mass_mm(pair.moving_body)
    return shift_transform((second[0] - first[0], second[1] - first[1], second[2] - first[2]))
