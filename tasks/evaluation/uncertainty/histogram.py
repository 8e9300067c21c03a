"""Histogram of the errors of one patient: a few kilobytes, sufficient for calibration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthct.tasks.evaluation.profiles import HU_BANDS

FIRST, LAST, COUNT = 0.25, 8192.0, 1024
"""Bins are geometric and 1 % wide, which is the precision of errors [HU] and ratios."""

EDGES: NDArray[np.float64] = np.concatenate([[0.0], np.geomspace(FIRST, LAST, COUNT)])
"""Upper edges of the bins; the first holds exact zeros, the last also everything beyond."""

Counts = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class ErrorCounts:
    r"""Counts of :math:`|e|` (or of :math:`|e|/\sigma`) by HU band of the *prediction*.

    The band of the prediction is known without a reference, that of the reference is not.

    Parameters
    ----------
    bands
        Band to counts (1025,) over :data:`EDGES`; a band without voxels is absent.
    """

    bands: Mapping[str, Counts]

    @classmethod
    def of(cls, values: NDArray[Any], prediction_hu: NDArray[Any]) -> ErrorCounts:
        """Count the voxels' values (n,) by the band of their predicted HU (n,)."""
        bins = np.minimum(np.searchsorted(EDGES, np.abs(values), side="left"), COUNT)
        found: dict[str, Counts] = {}
        for name, (low, high) in HU_BANDS.items():
            inside = (prediction_hu >= low) & (prediction_hu < high)
            if inside.any():
                found[name] = np.bincount(bins[inside], minlength=COUNT + 1).astype(np.int64)
        return cls(found)

    def total(self) -> Counts:
        """Counts over all bands."""
        counts = [np.zeros(COUNT + 1, np.int64), *self.bands.values()]
        return np.asarray(np.sum(counts, axis=0), np.int64)

    def as_json(self) -> dict[str, list[list[int]]]:
        """Sparse: band to [bin, count] pairs."""
        return {
            name: [[int(at), int(counts[at])] for at in np.flatnonzero(counts)]
            for name, counts in self.bands.items()
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> ErrorCounts:
        """Inverse of :meth:`as_json`."""
        found: dict[str, Counts] = {}
        for name, pairs in document.items():
            counts = np.zeros(COUNT + 1, np.int64)
            for at, count in pairs:
                counts[at] = count
            found[name] = counts
        return cls(found)
