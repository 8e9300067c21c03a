"""Harmonisation along a curve of few knots, kept in order by the Monge gap."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from synthct.tasks.transport.harmonisers import HARMONISERS
from synthct.tasks.transport.laws import Curve, Law

Floats = NDArray[np.float64]


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
        basis = np.stack([np.interp(own, places, row) for row in np.eye(places.size)], axis=1)
        x, target = own / width, wanted / width

        def objective(values: Floats) -> tuple[float, Floats]:
            mapped = basis @ values
            far, slope = squared_distance(mapped, target)
            gap, gap_slope = gap_on_the_line(x, mapped)
            return far + self.weight * gap, basis.T @ (slope + self.weight * gap_slope)

        found = minimize(objective, places / width, jac=True, method="L-BFGS-B")
        return Curve.through(places, width * found.x)


def squared_distance(mapped: Floats, law: Floats) -> tuple[float, Floats]:
    """Squared 2-Wasserstein distance of points (N,) to a law of N points, and its gradient."""
    order = np.argsort(mapped, kind="stable")
    off = np.empty_like(mapped)
    off[order] = mapped[order] - law
    return float((off**2).mean()), 2 * off / off.size


def gap_on_the_line(x: Floats, mapped: Floats) -> tuple[float, Floats]:
    r"""The gap of :func:`synthct.tasks.transport.monge_gap.monge_gap` without entropy, on the line.

    .. math:: M(T) = \frac{1}{N} \sum_i |x_i - T(x_i)|^2
              - \frac{1}{N} \sum_i |x_{(i)} - T_{(i)}|^2

    with both sides in rising order in the second sum. 0 for maps that rise, and only for them.

    Parameters
    ----------
    x, mapped
        Points and their images (N,).

    Returns
    -------
    tuple
        The gap and its gradient in ``mapped`` (N,).
    """
    best, slope = squared_distance(mapped, np.sort(x))
    off = mapped - x
    return float((off**2).mean()) - best, 2 * off / off.size - slope
