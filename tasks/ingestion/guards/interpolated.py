"""MR interpolated by the scanner: voxels finer than the measured resolution."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from synthct.data.volume import Modality, Volume
from synthct.tasks.ingestion.findings import Code, Finding, Severity
from synthct.tasks.ingestion.guards import GUARDS

INTERPOLATED = Code(
    "interpolated",
    Severity.NOTE,
    "the scanner interpolated the MR (zero-filled k-space): its detail is coarser than its voxels",
)


@GUARDS.register("interpolated")
@dataclass(frozen=True)
class Interpolated:
    """The outer k-space of a zero-filled MR is empty; that of a measured one contains noise.

    Along each in-plane axis the power above 0.8 of the Nyquist frequency is compared with that
    between 0.3 and 0.5.

    Parameters
    ----------
    below
        Ratio of the two powers below which it is noted; measured scans have 0.1 to 0.4.
    """

    below: float = 0.02
    needs_mask: ClassVar[bool] = False

    def __call__(self, scan: Volume, mask: Volume | None) -> tuple[Volume, list[Finding]]:
        """Compare the powers in the spectrum of the middle slices."""
        if scan.modality is not Modality.MR or min(scan.array.shape[1:]) < 32:
            return scan, []
        depth = scan.array.shape[0]
        middle = scan.array[depth // 4 : max(3 * depth // 4, depth // 4 + 1)].astype(np.float64)
        names = ("columns", "rows")
        empty = [name for axis, name in zip((1, 2), names, strict=True)
                 if outer_power(middle, axis) < self.below]  # fmt: skip
        if not empty:
            return scan, []
        sentence = f"along {' and '.join(empty)} the outer fifth of k-space is empty"
        return scan, [INTERPOLATED.found(sentence)]


def outer_power(values: NDArray[np.float64], axis: int) -> float:
    """Spectral power above 0.8 Nyquist over that between 0.3 and 0.5, along one axis."""
    lines = np.moveaxis(values, axis, -1)
    lines = (lines - lines.mean(axis=-1, keepdims=True)) * np.hanning(lines.shape[-1])
    power = (np.abs(np.fft.rfft(lines, axis=-1)) ** 2).mean(axis=(0, 1))
    frequency = np.linspace(0, 1, power.size)
    inner = float(np.median(power[(frequency > 0.3) & (frequency < 0.5)]))
    return float(np.median(power[frequency > 0.8])) / inner if inner > 0 else 1.0
