"""A rescale that changes in the middle of a scan."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from synthct.data.volume import Modality, Volume
from synthct.tasks.ingestion.findings import Code, Finding, Severity
from synthct.tasks.ingestion.guards import GUARDS
from synthct.tasks.ingestion.guards.slice_order import coarse_planes

JUMP = Code(
    "slice-jump",
    Severity.QUARANTINE,
    "the values jump from one slice to the next: a rescale that is right for a part of the scan",
    "export it with one rescale",
)

TISSUE_HU = -500.0
LARGE = 0.5
"""Slices with less tissue than this part of the fullest are ends of a head or limb."""

ALIKE = 0.5
"""Correlation of bright voxels of two slices of one scan; of body and background it is near 0."""


@GUARDS.register("slice_jump")
@dataclass(frozen=True)
class SliceJump:
    """The typical voxel changes little from one slice to the next.

    Parameters
    ----------
    jump_hu
        Median change of all voxels, or of tissue, between two slices of a CT or CBCT [HU].
    ratio
        Median change of bright voxels between two slices of an MR, as a factor.
    ends
        Slices at either end that are not asked: there a reconstruction or a slab fades.
    """

    jump_hu: float = 200.0
    ratio: float = 1.6
    ends: int = 2
    needs_mask: bool = False

    def __call__(self, scan: Volume, mask: Volume | None) -> tuple[Volume, list[Finding]]:
        """Compare neighbouring slices along the first axis."""
        planes = coarse_planes(scan)[self.ends : -self.ends or None]
        if len(planes) < 3:
            return scan, []
        bright = float(np.percentile(planes, 75))
        whole = max(float((plane > TISSUE_HU).mean()) for plane in planes)
        for number, (here, there) in enumerate(itertools.pairwise(planes)):
            told = (
                self._factor(here, there, bright)
                if scan.modality is Modality.MR
                else self._step(here, there, whole)
            )
            if told:
                at = number + self.ends + 2
                return scan, [JUMP.found(f"{told} at slice {at} of {scan.array.shape[0]}")]
        return scan, []

    def _step(self, here: NDArray[np.float32], there: NDArray[np.float32], whole: float) -> str:
        """Half of all voxels, or three quarters of a large slice's tissue, go the same way."""
        low = high = float(np.median(there - here))
        tissue = (here > TISSUE_HU) & (there > TISSUE_HU)
        if abs(low) <= self.jump_hu and tissue.mean() > max(0.02, LARGE * whole):
            low, high = (float(v) for v in np.percentile((there - here)[tissue], (25, 75)))
        if low <= self.jump_hu and high >= -self.jump_hu:
            return ""
        return f"the typical value changes by {low if low > 0 else high:.0f} HU"

    def _factor(self, here: NDArray[np.float32], there: NDArray[np.float32], bright: float) -> str:
        lit = np.maximum(here, there) > max(bright, 0.0)
        if lit.mean() < 0.02:
            return ""
        low, high = sorted(float(np.median(one[lit])) for one in (here, there))
        if low <= 0 or high / low <= self.ratio or not _alike(here[lit], there[lit]):
            return ""
        return f"the typical bright value changes by a factor of {high / low:.1f}"


def _alike(here: NDArray[np.float32], there: NDArray[np.float32]) -> bool:
    """The same anatomy under another scale; where the body begins it is not."""
    if not (np.ptp(here) > 0 and np.ptp(there) > 0):
        return False
    return float(np.corrcoef(here, there)[0, 1]) >= ALIKE
