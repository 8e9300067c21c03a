"""A start from anywhere: poses by the hundred, compared coarsely, and the best of them climbed.

Only for a pair on which the ordinary starts failed: it costs seconds and knows nothing of where a
scanner puts its patients.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import SimpleITK as sitk

from tasks.registration.geometry import centre_of_mass_mm
from tasks.registration.landscape import (
    ARM_MM,
    Affine,
    Landscape,
    Pose,
    climb,
    distance_of,
    landscape_of,
)
from tasks.registration.scan_pair import ScanPair
from tasks.registration.starts import shift_transform

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


def find_pose(pair: ScanPair, *, seed: int) -> tuple[sitk.Euler3DTransform, float]:
    """The most informative rigid pose (fixed -> moving points) and its mutual information.

    One seed gives the same bytes.
    """
    standing = _centres_joined(pair)
    stands = Affine.of(standing)
    land = replace(landscape_of(pair, stands, seed), fewest=FEWEST_SEEN)
    ended = [climb(land, stands, pose) for pose in _candidates(land, stands)]
    best, information = max(ended, key=lambda found: found[1])
    return land.transform(best, stands), information


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
