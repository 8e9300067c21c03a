"""The intensity law of a scan (its distribution, as quantiles), and curves between laws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

ATOMS = 100
"""Number of quantiles that describe a law: at 0.5 %, 1.5 %, ..., 99.5 %."""

LEVELS = (np.arange(ATOMS) + 0.5) / ATOMS

Law = tuple[float, ...]
"""A distribution as ``ATOMS`` non-decreasing quantiles, or points of equal mass."""


def law_of(values: NDArray[Any]) -> Law:
    """Quantiles of intensities (voxels,): at least one, all finite."""
    return tuple(np.quantile(np.asarray(values, np.float64), LEVELS).tolist())


def mean_law(laws: Sequence[Law]) -> Law:
    r"""Barycentre of laws on the line: their quantiles are averaged.

    It minimises the sum of squared 2-Wasserstein distances to them.

    References
    ----------
    Agueh & Carlier, Barycenters in the Wasserstein Space, SIAM J. Math. Anal. 43 (2011) 904-924,
    doi:10.1137/100805741.
    """
    return tuple(np.mean(np.asarray(laws, np.float64), axis=0).tolist())


def distance(first: Law, second: Law) -> float:
    r"""1-Wasserstein distance :math:`\int_0^1 |Q_1(u) - Q_2(u)|\, du`, in the unit of the laws."""
    return float(np.abs(np.subtract(first, second)).mean())


def largest_atom(law: Law) -> float:
    """Largest share of the mass at one value."""
    _, counts = np.unique(np.asarray(law), return_counts=True)
    return float(counts.max()) / len(law)


@dataclass(frozen=True)
class Curve:
    """A map of intensities: linear between increasing knots; outside, the end's shift is kept."""

    knots: tuple[float, ...]
    values: tuple[float, ...]

    @classmethod
    def through(cls, knots: NDArray[Any], values: NDArray[Any]) -> Curve:
        """The curve through points in ascending order; values at equal positions are averaged."""
        places, where = np.unique(knots, return_inverse=True)
        mean = np.bincount(where, values) / np.bincount(where)
        return cls(tuple(places.tolist()), tuple(mean.tolist()))

    @property
    def rises(self) -> bool:
        """Whether the curve is non-decreasing."""
        return bool((np.diff(self.values) >= 0).all())

    def __call__(self, array: NDArray[Any]) -> NDArray[np.float32]:
        """Map intensities (any shape); a new float32 array."""
        x, y = np.asarray(self.knots), np.asarray(self.values)
        flat = np.asarray(array, np.float64)
        mapped = np.interp(flat, x, y)
        mapped += np.minimum(flat - x[0], 0) + np.maximum(flat - x[-1], 0)
        result: NDArray[np.float32] = mapped.astype(np.float32)
        return result
