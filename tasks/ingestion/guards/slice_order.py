"""Slices at wrong positions: shuffled, exchanged, from another scan, repeated."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from synthct.data.volume import Modality, Volume
from synthct.tasks.ingestion.findings import Code, Finding, Severity
from synthct.tasks.ingestion.guards import GUARDS

_REMEDY = "send the series again from its source"
SHUFFLED = Code(
    "slices-shuffled",
    Severity.QUARANTINE,
    "neighbouring slices are no more similar than distant ones: positions belong to other images",
    _REMEDY,
)
MISPLACED = Code(
    "slice-misplaced",
    Severity.QUARANTINE,
    "single slices fit better at another position, or into another scan",
    _REMEDY,
)
REPEATED = Code(
    "slice-content-repeated",
    Severity.QUARANTINE,
    "neighbouring slices have exactly the same voxels",
    _REMEDY,
)

COARSE_MM = 4.0
"""In-plane averaging length, which removes noise."""

NOISY = 2.5
"""Slices that differ by less than this times their own roughness are one image with noise."""


@GUARDS.register("slice_order")
@dataclass(frozen=True)
class SliceOrder:
    r"""Anatomy changes gradually: a slice resembles its neighbours more than slices further away.

    With :math:`d(a, b)` the mean absolute difference of two slices (averaged over 4 mm), the
    *step* between them, a correct scan has :math:`d(k, k \pm 1) < d(k-1, k+1)`, and exchanging two
    neighbours makes the steps larger.

    Parameters
    ----------
    foreign
        Ratio of the steps to a slice to the step across it, from which the slice is foreign.
    larger
        Least ratio of the steps to a foreign slice, or around two exchanged ones, to the adjacent
        steps.
    exchanged
        Ratio of the steps as they are to the steps with two neighbours exchanged.
    shuffled
        Ratio of the median step to the step between random slices.
    least
        Steps below this fraction of the image's contrast prove nothing.
    varied
        Random slices differ by at least this fraction of the contrast, unless all slices are the
        same, as those of some test objects.
    """

    foreign: float = 1.25
    larger: float = 1.15
    exchanged: float = 1.1
    shuffled: float = 0.8
    least: float = 0.01
    varied: float = 0.04
    needs_mask: ClassVar[bool] = False

    def __call__(self, scan: Volume, mask: Volume | None) -> tuple[Volume, list[Finding]]:
        """Compare every slice with its neighbours along the first axis."""
        repeated = _repeated(scan.array)
        if repeated:
            sentence = f"{repeated} slices have the same voxels as the one before"
            return scan, [REPEATED.found(sentence)]
        planes = coarse_planes(scan)
        contrast = float(np.diff(np.percentile(planes, (1, 99)))[0])
        if len(planes) < 5 or contrast == 0:
            return scan, []
        return scan, self._judged(planes, contrast)

    def _judged(self, planes: NDArray[np.float32], contrast: float) -> list[Finding]:
        near = _apart(planes, 1)
        far = np.maximum(_apart(planes, 2), self.least * contrast)
        turns = np.random.default_rng(len(planes)).permutation(len(planes))
        anywhere = float(_apart(planes[turns], 1).mean())
        # Variation within a slice from one voxel to the next is noise and edges.
        rough = float(np.abs(planes - ndimage.uniform_filter(planes, (0, 3, 3))).mean())
        ratio = float(np.median(near)) / max(anywhere, self.varied * contrast, NOISY * rough)
        if ratio > self.shuffled:
            return [SHUFFLED.found(f"neighbours differ {ratio:.0%} as much as any two slices")]
        foreign = np.minimum(near[:-1], near[1:]) / far > self.foreign
        # The halves of a head are similar: across its middle plane the far step is small, and the
        # near steps are like the adjacent ones. To and from a foreign slice they are larger.
        adjacent = np.concatenate([near[1:2], near[:-2]]), np.concatenate([near[2:], near[-2:-1]])
        foreign &= np.minimum(near[:-1], near[1:]) > self.larger * np.minimum(*adjacent)
        exchanged = (near[:-2] + near[2:]) / (far[:-1] + far[1:]) > self.exchanged
        exchanged &= near[:-2] + near[2:] > self.larger * 2 * near[1:-1]
        if not foreign.any() and not exchanged.any():
            return []
        at = int(np.flatnonzero(foreign)[0] if foreign.any() else np.flatnonzero(exchanged)[0]) + 2
        count = int(foreign.sum()) or int(exchanged.sum())
        which = "1 slice, number" if count == 1 else f"{count} slices, the first number"
        return [MISPLACED.found(f"{which} {at}: a bad fit to the neighbours")]


def coarse_planes(scan: Volume) -> NDArray[np.float32]:
    """Slices averaged in-plane over about 4 mm; CT and CBCT clipped to -1000 to 1000 HU."""
    steps = [max(1, round(COARSE_MM / step)) for step in scan.grid.spacing_mm[1:]]
    values = scan.array.astype(np.float32)
    if scan.modality is not Modality.MR:
        values = np.clip(values, -1000, 1000)
    smooth = ndimage.uniform_filter(values, (0, *steps))
    return np.asarray(smooth[:, :: steps[0], :: steps[1]])


def _apart(planes: NDArray[np.float32], step: int) -> NDArray[np.float64]:
    difference = np.abs(planes[step:] - planes[:-step])
    return np.asarray(difference.mean(axis=(1, 2)), dtype=np.float64)


def _repeated(array: NDArray[np.generic]) -> int:
    count = 0
    for before, after in itertools.pairwise(array):
        if np.array_equal(before, after) and after.min() != after.max():
            count += 1
    return count
