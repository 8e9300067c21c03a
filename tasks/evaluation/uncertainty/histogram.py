"""Errors of one patient as counts: all that calibration needs, a few kilobytes a case."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthct.tasks.evaluation.profiles import HU_BANDS

FIRST, LAST, COUNT = 0.25, 8192.0, 1024
"""Bins are geometric, 1 % wide: an error [HU] or a ratio is known to that."""

EDGES: NDArray[np.float64] = np.concatenate([[0.0], np.geomspace(FIRST, LAST, COUNT)])
"""Upper edges of the bins; the first bin holds what is exactly 0, the last also what is beyond."""

Counts = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class ErrorCounts:
    r"""Counts of :math:`|e|` (or of :math:`|e|/\sigma`) by HU band of the *prediction*.

    The prediction's band is known when there is no reference; the reference's is not.

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
    def from_json(cls, told: Mapping[str, Any]) -> ErrorCounts:
        """Back from :meth:`as_json`."""
        found: dict[str, Counts] = {}
        for name, pairs in told.items():
            counts = np.zeros(COUNT + 1, np.int64)
            for at, count in pairs:
                counts[at] = count
            found[name] = counts
        return cls(found)
