"""A rescale that changes in the middle of a scan."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from synthct.data.volume import Modality, Volume
from synthct.tasks.ingestion.findings import Code, Finding, Severity
from synthct.tasks.ingestion.guards import GUARDS
from synthct.tasks.ingestion.guards.slice_order import coarse_planes

JUMP = Code(
    "slice-jump",
    Severity.QUARANTINE,
    "the values jump between two slices: the rescale is right for a part of the scan only",
    "export it with one rescale",
)

TISSUE_HU = -500.0
LARGE = 0.5
"""Slices with less tissue than this fraction of the fullest are ends of a head or limb."""

MIN_VOXELS = 20
"""Fewer bright voxels (of about 4 mm) prove nothing."""

FOREGROUND_SHARE = 0.4
"""Fraction of the 98th percentile of a slice above which its voxels are compared."""

ODD = 0.5
"""Largest residual difference of two slices after scaling, relative to their mean."""

UNEVEN = 0.8
"""Largest spread (10 to 90 %) of the logarithms of the voxels' own factors: a rescale is the same
for all voxels; where a body begins, the factors differ."""


@GUARDS.register("slice_jump")
@dataclass(frozen=True)
class SliceJump:
    r"""The typical voxel changes little from one slice to the next.

    In an MR the change is the median of :math:`\log(b/a)` over the voxels that are bright in two
    neighbouring slices :math:`a, b`, each by its own threshold. Anatomy changes too: where a body
    begins, the change continues over several slices, differs from voxel to voxel, and no single
    factor turns the first slice into the second. A changed rescale has none of these properties.

    Parameters
    ----------
    jump_hu
        Median change of all voxels, or of tissue, between two slices of a CT or CBCT [HU].
    ratio
        Median change of bright voxels between two slices of an MR beyond the change of the
        adjacent slices, as a factor.
    ends
        Slices at either end that are not checked: there a reconstruction or a slab fades.
    """

    jump_hu: float = 200.0
    ratio: float = 1.4
    ends: int = 2
    needs_mask: ClassVar[bool] = False

    def __call__(self, scan: Volume, mask: Volume | None) -> tuple[Volume, list[Finding]]:
        """Compare neighbouring slices along the first axis."""
        planes = coarse_planes(scan)
        first, end = self.ends, len(planes) - 1 - self.ends
        if end - first < 2:
            return scan, []
        steps = self._factors(planes) if scan.modality is Modality.MR else self._steps(planes)
        for number, change in enumerate(steps):
            if change and first <= number < end:
                at = number + 2
                return scan, [JUMP.found(f"{change} at slice {at} of {scan.array.shape[0]}")]
        return scan, []

    def _steps(self, planes: NDArray[np.float32]) -> Iterator[str]:
        fullest = max(float((plane > TISSUE_HU).mean()) for plane in planes)
        for here, there in itertools.pairwise(planes):
            yield self._step(here, there, fullest)

    def _step(self, here: NDArray[np.float32], there: NDArray[np.float32], fullest: float) -> str:
        """Half of all voxels, or 3/4 of a large slice's tissue, change in the same direction."""
        low = high = float(np.median(there - here))
        tissue = (here > TISSUE_HU) & (there > TISSUE_HU)
        if abs(low) <= self.jump_hu and tissue.mean() > max(0.02, LARGE * fullest):
            low, high = (float(v) for v in np.percentile((there - here)[tissue], (25, 75)))
        if low <= self.jump_hu and high >= -self.jump_hu:
            return ""
        return f"the typical value changes by {low if low > 0 else high:.0f} HU"

    def _factors(self, planes: NDArray[np.float32]) -> Iterator[str]:
        changes = [_change(here, there) for here, there in itertools.pairwise(planes)]
        for number, change in enumerate(changes):
            adjacent = [changes[i].log for i in (number - 1, number + 1) if 0 <= i < len(changes)]
            # An adjacent change in the same direction is a fade or a body that begins.
            sign = np.sign(change.log)
            usual = max([0.0, *(float(sign * one) for one in adjacent)])
            jumps = abs(change.log) - usual > np.log(self.ratio)
            factor = np.exp(abs(change.log))
            even = change.odd < ODD and change.spread < UNEVEN
            text = f"the typical bright value changes by a factor of {factor:.1f}"
            yield text if jumps and even else ""


@dataclass(frozen=True)
class _Change:
    """From one slice of an MR to the next: log of the factor, its spread, the residual."""

    log: float = 0.0
    spread: float = np.inf
    odd: float = np.inf


def _change(here: NDArray[np.float32], there: NDArray[np.float32]) -> _Change:
    limits = [FOREGROUND_SHARE * float(np.percentile(one, 98)) for one in (here, there)]
    lit = (here > limits[0]) & (there > limits[1])
    if min(limits) <= 0 or lit.sum() < MIN_VOXELS:
        return _Change()
    logs = np.log(there[lit] / here[lit])
    low, middle, high = (float(v) for v in np.percentile(logs, (10, 50, 90)))
    scaled = float(np.exp(middle)) * here
    mean = float(np.abs(there).mean() + np.abs(scaled).mean()) / 2
    return _Change(middle, high - low, float(np.abs(there - scaled).mean()) / mean)
