r"""How much of a learned correction is taken, by its size: fitted to cases that were held back.

A network meets scanners it was not trained on. Where its correction *r* of the calibrated scan *x*
is large, it is wrong more often. For each size of *r* the share

.. math:: w = \arg\min_{0 \le w \le 1} \sum |x + w r - y|

over voxels of that size in cases that did not train the network, *y* being their CT, is a weighted
median of :math:`(y - x) / r` with weights :math:`|r|`. Shares may not rise with the size of the
correction (isotonic regression; Barlow et al., Statistical Inference under Order Restrictions,
1972).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

MIN_VOXELS = 500
"""Fewer voxels of one size show nothing: the share of the next smaller size is used."""

RATIO_BINS = 400
"""Bins of (y - x) / r over [0, 1]."""


@dataclass(eq=False)
class ShareFit:
    """Sums over voxels by size of the correction; cases are added one at a time.

    Parameters
    ----------
    knots
        Sizes of the correction at which shares are fitted [network units].
    """

    knots: tuple[float, ...]

    def __post_init__(self) -> None:
        self.sums = np.zeros((len(self.knots), RATIO_BINS + 2))
        self.voxels = np.zeros(len(self.knots))

    def add(
        self,
        calibrated: NDArray[np.float32],
        correction: NDArray[np.float32],
        target: NDArray[np.float32],
    ) -> None:
        """Voxels (n,) of one case [network units]."""
        size = np.abs(correction).astype(np.float64)
        nearest = np.abs(size[:, None] - np.asarray(self.knots)).argmin(axis=1)
        moved = size > 1e-6
        ratio = (target - calibrated)[moved] / correction[moved]
        place = np.clip(np.floor(ratio * RATIO_BINS) + 1, 0, RATIO_BINS + 1).astype(int)
        np.add.at(self.sums, (nearest[moved], place), size[moved])
        self.voxels += np.bincount(nearest, minlength=len(self.knots))

    def shares(self) -> NDArray[np.float64]:
        """One share per knot, in [0, 1], none larger than the one before it."""
        found, weights = np.ones(len(self.knots)), np.full(len(self.knots), 1e-9)
        for knot, sums in enumerate(self.sums):
            if self.voxels[knot] < MIN_VOXELS or sums.sum() == 0:
                found[knot] = found[knot - 1] if knot else 1.0
                continue
            half = int(np.searchsorted(np.cumsum(sums), sums.sum() / 2))
            found[knot] = np.clip((half - 0.5) / RATIO_BINS, 0, 1)
            weights[knot] = sums.sum()
        return np.asarray(isotonic_regression(found, weights=weights, increasing=False).x)


def fit_shares(
    knots: tuple[float, ...],
    cases: Iterable[tuple[NDArray[np.float32], ...]],
) -> NDArray[np.float64]:
    """Shares from (calibrated, correction, target) of each case; each array (n,)."""
    fit = ShareFit(knots)
    for calibrated, correction, target in cases:
        fit.add(calibrated, correction, target)
    return fit.shares()
