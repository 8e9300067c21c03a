"""Harmonisation along a curve of few knots, kept in order by the Monge gap."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from synthct.tasks.transport.harmonisers import HARMONISERS
from synthct.tasks.transport.laws import Curve, Law
from synthct.tasks.transport.monge_gap import monge_gap_on_the_line

STEPS, RATE = 100, 0.03
"""Steps of Adam and their size [standard deviations of the reference]."""


@HARMONISERS.register("monge")
@dataclass(frozen=True)
class Monge:
    r"""A piecewise linear curve through few knots, fitted to the reference without pairs.

    .. math:: \min_T \; W_2^2(T_\# s, r) + w\, M(T)

    with laws *s* of the scan and *r* of the reference, and the Monge gap *M*, which is 0 where the
    curve rises. Few knots cannot follow each bump of the law, so that a tissue of which the scan
    has a little more is not spread over the reference's values as with ``quantile``. A curve that
    falls somewhere all the same is refused.

    Parameters
    ----------
    knots
        Knots of the curve, at evenly spaced quantiles of the scan; at least 2.
    weight
        *w*, strength of the gap; at least 0.

    References
    ----------
    Uscidda & Cuturi, The Monge Gap, ICML 2023, arXiv:2302.04953.
    """

    knots: int = 5
    weight: float = 1.0

    def __post_init__(self) -> None:
        if self.knots < 2:
            raise ValueError(f"knots must be at least 2, got {self.knots}")
        if self.weight < 0:
            raise ValueError(f"weight must be at least 0, got {self.weight}")

    def fit(self, scan: Law, reference: Law) -> Curve:
        """The curve from ``scan`` to ``reference``."""
        own, wanted = np.asarray(scan), np.asarray(reference)
        width = max(float(wanted.std()), 1e-6)
        places = np.unique(np.quantile(own, np.linspace(0, 1, self.knots)))
        basis = torch.from_numpy(
            np.stack([np.interp(own, places, row) for row in np.eye(places.size)], axis=1)
        )
        x, target = torch.from_numpy(own / width), torch.from_numpy(wanted / width)
        values = torch.from_numpy(places / width).requires_grad_()
        optimizer = torch.optim.Adam([values], lr=RATE)
        for _ in range(STEPS):
            mapped = basis @ values
            loss = (mapped.sort().values - target).square().mean()
            loss = loss + self.weight * monge_gap_on_the_line(x, mapped)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        return Curve.through(places, width * values.detach().numpy())
