"""Number of slices, voxel size and extent: limits for a scan of a patient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from synthct.data.volume import Volume
from synthct.tasks.ingestion.findings import Code, Finding, Severity
from synthct.tasks.ingestion.guards import GUARDS

FEW = Code("few-slices", Severity.REJECT, "too few slices for a volume", "give the whole series")
SMALL = Code(
    "too-small",
    Severity.QUARANTINE,
    "the image is too small for a part of a patient (cm for mm?)",
    "check the unit of the spacing",
)
COARSE = Code(
    "too-coarse",
    Severity.QUARANTINE,
    "voxels or image are too large for a patient (um for mm, or a localizer?)",
    "check the unit of the spacing",
)


@GUARDS.register("size")
@dataclass(frozen=True)
class Size:
    """A scan has enough slices, a plausible voxel size and a plausible extent.

    Parameters
    ----------
    min_slices
        Fewest voxels along each axis.
    min_spacing_mm, max_spacing_mm
        Limits of the voxel size: wrong units and localizers are outside.
    min_extent_mm, max_extent_mm
        Limits of the in-plane extent: a scan in cm is ten times too small.
    max_length_mm
        Longest side, that of a whole body.
    """

    min_slices: int = 5
    min_spacing_mm: float = 0.1
    max_spacing_mm: float = 12.0
    min_extent_mm: float = 50.0
    max_extent_mm: float = 1200.0
    max_length_mm: float = 2500.0
    needs_mask: ClassVar[bool] = False

    def __call__(self, scan: Volume, mask: Volume | None) -> tuple[Volume, list[Finding]]:
        """Check the grid; the voxels are not read."""
        grid, found = scan.grid, []
        if min(grid.shape) < self.min_slices:
            sentence = f"{min(grid.shape)} slices; at least {self.min_slices} are needed"
            found.append(FEW.found(sentence))
        spacing, extent = grid.spacing_mm, grid.extent_mm
        measured = f"voxels of {_xyz(spacing)} mm, box of {_xyz(extent)} mm"
        small = min(spacing) < self.min_spacing_mm or min(extent[1:]) < self.min_extent_mm
        if small:
            found.append(SMALL.found(f"{measured}: too small for a patient (cm for mm?)"))
        wide = sorted(extent)[1] > self.max_extent_mm or max(extent) > self.max_length_mm
        if max(spacing) > self.max_spacing_mm or wide:
            found.append(
                COARSE.found(f"{measured}: too coarse for planning (um for mm, or a localizer?)")
            )
        return scan, found


def _xyz(lengths: tuple[float, float, float]) -> str:
    return " x ".join(f"{length:.3g}" for length in reversed(lengths))
