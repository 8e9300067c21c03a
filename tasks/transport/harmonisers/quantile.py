"""Harmonisation by the whole law: the optimal transport of one-dimensional laws."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from synthct.tasks.transport.harmonisers import HARMONISERS
from synthct.tasks.transport.laws import Curve, Law


@HARMONISERS.register("quantile")
@dataclass(frozen=True)
class Quantile:
    r"""Each quantile of the scan becomes that of the reference: :math:`T = Q_r \circ F_s`.

    The optimal map for every convex cost of the difference, and the only increasing one that gives
    the scan exactly the reference's law. It presupposes that scan and reference show the same share
    of each tissue: what another field of view adds is mapped away like a change of the scanner.
    Where shares differ, use ``partial``.

    References
    ----------
    Peyré & Cuturi, Computational Optimal Transport, arXiv:1803.00567, section 2.6.
    """

    def fit(self, scan: Law, reference: Law) -> Curve:
        """The curve from ``scan`` to ``reference``."""
        return Curve.through(np.asarray(scan), np.asarray(reference))
