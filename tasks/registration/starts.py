"""Where the rigid step begins: the best of a few plain shifts."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from data.itk import resample
from data.volume import Grid, Triple, Volume
from tasks.registration.geometry import centre_of_mass_mm
from tasks.registration.scan_pair import ScanPair
from tasks.registration.similarity import normalised_mutual_information, overlap_dice

COARSE_MM = 8.0
"""Voxel size at which the starts are compared [mm]."""

FEWEST_SHARED = 0.1
"""A start under which the bodies share less than this (Dice) is not a start."""


def best_start(pair: ScanPair) -> Triple:
    """Shift (z, y, x) [mm] from fixed to moving points to start from.

    Candidates are the scanner's frame as it is, the bodies' centres of mass and the middles of
    the boxes; the one with the highest normalised mutual information inside the fixed body wins.
    The frame as it is comes first: a tie keeps it.
    """
    grid = _coarse(pair.fixed.grid)
    fixed = resample(pair.fixed, grid, outside=float(pair.fixed.array.min()))
    body = resample(pair.fixed_body, grid, outside=0, nearest=True)
    if not np.any(body.array):  # a body thinner than the coarse voxels
        return 0.0, 0.0, 0.0
    candidates = _candidates(pair)
    scores = [_score(pair, shift, fixed, body) for shift in candidates]
    return candidates[int(np.argmax(scores))]


def _candidates(pair: ScanPair) -> list[Triple]:
    masses = centre_of_mass_mm(pair.fixed_body), centre_of_mass_mm(pair.moving_body)
    middles = pair.fixed.grid.centre_mm, pair.moving.grid.centre_mm
    return [(0.0, 0.0, 0.0), *(_between(*points) for points in (masses, middles))]


def _between(first: Triple, second: Triple) -> Triple:
    return second[0] - first[0], second[1] - first[1], second[2] - first[2]


def _score(pair: ScanPair, shift: Triple, fixed: Volume, body: Volume) -> float:
    transform = shift_transform(shift)
    there = resample(pair.moving_body, fixed.grid, transform=transform, outside=0, nearest=True)
    if overlap_dice(there.array, body.array) < FEWEST_SHARED:
        return 0.0
    outside = float(pair.moving.array.min())
    moved = resample(pair.moving, fixed.grid, transform=transform, outside=outside)
    return normalised_mutual_information(fixed.array, moved.array, body.array, bins=16)


def shift_transform(shift: Triple) -> sitk.TranslationTransform:
    """The translation by ``shift`` (z, y, x) [mm]."""
    return sitk.TranslationTransform(3, tuple(reversed(shift)))


def _coarse(grid: Grid) -> Grid:
    z, y, x = (max(COARSE_MM, step) for step in grid.spacing_mm)
    return grid.with_spacing((z, y, x))
