"""Harmonisation by the part of the law that scan and reference share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from synthct.data.errors import DataError
from synthct.tasks.transport.harmonisers import HARMONISERS
from synthct.tasks.transport.laws import Curve, Law
from synthct.tasks.transport.partial import embed


@HARMONISERS.register("partial")
@dataclass(frozen=True)
class Partial:
    r"""Only mass that finds a counterpart within ``reach`` moves: partial optimal transport.

    The kept points of the scan go to their counterparts, and the curve is linear between them;
    outside it keeps the shift of its ends. A tissue that only one of the two shows, such as fat
    beyond a truncated field of view, moves nothing, where ``quantile`` would stretch the rest to
    fill its place. The price: changes of the scanner larger than ``reach`` are not undone.

    Parameters
    ----------
    reach
        Largest distance that an intensity is moved [units of the source scaling].
    smallest_share
        Smallest share of the scan's law that must find a counterpart, in (0, 1].

    References
    ----------
    Bai, Medri, Diaz Martin, Shahroz & Kolouri, ICML 2023, arXiv:2302.03232 (the transport).
    """

    reach: float = 0.5
    smallest_share: float = 0.5

    def __post_init__(self) -> None:
        if self.reach <= 0:
            raise ValueError(f"reach must be positive, got {self.reach}")
        if not 0 < self.smallest_share <= 1:
            raise ValueError(f"smallest_share must be in (0, 1], got {self.smallest_share}")

    def fit(self, scan: Law, reference: Law) -> Curve:
        """The curve from ``scan`` to ``reference``."""
        found = embed(np.asarray(scan), np.asarray(reference), self.reach)
        share = float(found.kept.mean())
        if share < self.smallest_share:
            raise DataError(
                f"only {share:.0%} of the body has intensities like those of the reference "
                f"(within {self.reach:g})",
                rule=f"a scan that is harmonised shares {self.smallest_share:.0%} with the "
                "reference",
                remedy="raise reach, use the harmoniser quantile, or do not harmonise this scan",
                code="law-unmappable",
            )
        places = np.asarray(scan)[found.kept]
        return Curve.through(places, places + found.moved[found.kept])
