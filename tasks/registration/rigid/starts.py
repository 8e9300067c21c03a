"""Initial translations of the rigid step, ranked by mutual information."""

from __future__ import annotations

from dataclasses import dataclass

import SimpleITK as sitk

from synthct.data.itk import resample
from synthct.data.volume import Grid, Triple, Volume
from synthct.tasks.fields.geometry import centre_of_mass_mm
from synthct.tasks.registration.agreement import normalised_mutual_information, overlap_dice
from synthct.tasks.registration.scan_pair import ScanPair

COARSE_MM = 8.0
"""Voxel size at which initial translations are compared [mm]."""

MIN_SHARED = 0.1
"""Minimum Dice overlap of the bodies for the mutual information to be evaluated [1]."""


@dataclass(frozen=True, eq=False)
class Overview:
    """A pair at coarse resolution, for fast comparison of transforms."""

    pair: ScanPair
    fixed: Volume
    body: Volume

    @classmethod
    def of(cls, pair: ScanPair) -> Overview:
        """The pair resampled to voxels of at least ``COARSE_MM``."""
        grid = _coarse(pair.fixed.grid)
        return cls(
            pair,
            resample(pair.fixed, grid, outside=float(pair.fixed.array.min())),
            resample(pair.fixed_body, grid, outside=0, nearest=True),
        )

    def information(self, transform: sitk.Transform) -> float:
        """Normalised mutual information in the fixed body; 0 if the bodies hardly overlap."""
        moving, grid = self.pair.moving, self.fixed.grid
        if self.overlap(transform) < MIN_SHARED:
            return 0.0
        moved = resample(moving, grid, transform=transform, outside=float(moving.array.min()))
        return normalised_mutual_information(
            self.fixed.array, moved.array, self.body.array, bins=16
        )

    def overlap(self, transform: sitk.Transform) -> float:
        """Dice of the bodies [1]."""
        body, grid = self.pair.moving_body, self.fixed.grid
        there = resample(body, grid, transform=transform, outside=0, nearest=True)
        return overlap_dice(there.array, self.body.array)


def ranked_starts(view: Overview) -> list[Triple]:
    """Translations (z, y, x) [mm] from fixed to moving points, highest mutual information first.

    Candidates are the identity (scanner coordinates) and the alignment of the bodies' centres of
    mass and of the grids' centres. The identity wins a tie.
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
