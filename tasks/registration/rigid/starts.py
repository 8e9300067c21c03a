"""Where the rigid step begins: a few plain shifts, the most informative first."""

from __future__ import annotations

from dataclasses import dataclass

import SimpleITK as sitk

from synthct.data.itk import resample
from synthct.data.volume import Grid, Triple, Volume
from synthct.tasks.fields.geometry import centre_of_mass_mm
from synthct.tasks.registration.agreement import normalised_mutual_information, overlap_dice
from synthct.tasks.registration.scan_pair import ScanPair

COARSE_MM = 8.0
"""Voxel size at which starts are compared [mm]."""

FEWEST_SHARED = 0.1
"""Bodies that share less than this (Dice) tell nothing about each other."""


@dataclass(frozen=True, eq=False)
class Overview:
    """A pair seen coarsely, to compare transforms quickly."""

    pair: ScanPair
    fixed: Volume
    body: Volume

    @classmethod
    def of(cls, pair: ScanPair) -> Overview:
        """The pair on voxels of at least ``COARSE_MM``."""
        grid = _coarse(pair.fixed.grid)
        return cls(
            pair,
            resample(pair.fixed, grid, outside=float(pair.fixed.array.min())),
            resample(pair.fixed_body, grid, outside=0, nearest=True),
        )

    def information(self, transform: sitk.Transform) -> float:
        """Normalised mutual information inside the fixed body; 0 where the bodies do not meet."""
        moving, grid = self.pair.moving, self.fixed.grid
        there = resample(self.pair.moving_body, grid, transform=transform, outside=0, nearest=True)
        if overlap_dice(there.array, self.body.array) < FEWEST_SHARED:
            return 0.0
        moved = resample(moving, grid, transform=transform, outside=float(moving.array.min()))
        return normalised_mutual_information(
            self.fixed.array, moved.array, self.body.array, bins=16
        )


def ranked_starts(view: Overview) -> list[Triple]:
    """Shifts (z, y, x) [mm] from fixed to moving points, the most informative first.

    Candidates are the scanner's frame as it is, the bodies' centres of mass and the middles of
    the boxes. The frame as it is wins a tie.
    """
    pair = view.pair
    masses = centre_of_mass_mm(pair.fixed_body), centre_of_mass_mm(pair.moving_body)
    middles = pair.fixed.grid.centre_mm, pair.moving.grid.centre_mm
    shifts = [(0.0, 0.0, 0.0), *(_between(*points) for points in (masses, middles))]
    return sorted(shifts, key=lambda shift: -view.information(shift_transform(shift)))


def shift_transform(shift: Triple) -> sitk.TranslationTransform:
    """The translation by ``shift`` (z, y, x) [mm]."""
    return sitk.TranslationTransform(3, tuple(reversed(shift)))


def _between(first: Triple, second: Triple) -> Triple:
    return second[0] - first[0], second[1] - first[1], second[2] - first[2]


def _coarse(grid: Grid) -> Grid:
    z, y, x = (max(COARSE_MM, step) for step in grid.spacing_mm)
    return grid.with_spacing((z, y, x))
