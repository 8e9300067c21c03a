"""Conformal thresholds for scans of another site, whose own errors nobody knows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

Floats = NDArray[np.float64]

SMOOTHING = 0.02
"""Width of the corner of the pinball loss, as a share of the scores' standard deviation."""

MIN_SHARE = 0.05
"""Smallest threshold, as a share of the mean threshold: none is negative, none claims certainty."""


@dataclass(frozen=True, eq=False)
class ShiftedThreshold:
    r"""Threshold :math:`q(x) = \max(\theta^\top \varphi(x), q_0)`, in the unit of the scores.

    Parameters
    ----------
    middle, scale
        (d,): standardise features; a feature that does not vary has scale infinity.
    theta
        (d + 1,): constant first.
    floor
        :math:`q_0`.
    """

    middle: Floats
    scale: Floats
    theta: Floats
    floor: float

    def __call__(self, features: Floats) -> Floats:
        """Thresholds (n,) for features (n, d)."""
        return np.maximum(_design(features, self.middle, self.scale) @ self.theta, self.floor)


def shifted_threshold(
    scores: Floats,
    source: Floats,
    target: Floats,
    coverage: float,
    *,
    strength: float = 1.0,
) -> ShiftedThreshold:
    r"""Likelihood-ratio regularised quantile regression, with linear thresholds.

    .. math:: \min_{h, \beta}\; E_1[\ell_p(S - h(X))]
        + \lambda \left(\beta^2 E_1[h(X)^2] - 2 \beta E_2[h(X)]\right)

    :math:`\ell_p` is the pinball loss at the nominal coverage :math:`p`, :math:`E_1` the mean over
    calibration, :math:`E_2` over the target. Up to a constant the bracket is
    :math:`E_1[(\beta h - r)^2]` with the likelihood ratio :math:`r = dP_2/dP_1`, which is never
    estimated: it draws :math:`h` towards a multiple of :math:`r`. The bracket at its best
    :math:`\beta` does not change when :math:`h` is multiplied, so at the optimum the coverage
    weighted by :math:`h` is nominal, and with it, as far as :math:`h \propto r`, the coverage on
    the target. The multiple is set exactly at the end.

    Parameters
    ----------
    scores
        (n,): scores of the calibration, at least 0, for example :math:`|e|` [HU].
    source, target
        Features (n, d) of the calibration and (m, d) of the target; standardised by the former.
    strength
        :math:`\lambda` in units of the scores' mean. 0: quantile regression.

    Raises
    ------
    ValueError
        Sizes do not fit, or ``coverage`` is not between 0 and 1.

    References
    ----------
    Joshi, Kiyani, Pappas, Dobriban & Hassani, arXiv:2502.13030 (2025).
    """
    if len(scores) != len(source) or source.shape[1:] != target.shape[1:] or not len(target):
        raise ValueError(
            f"scores {scores.shape}, source {source.shape} and target {target.shape} do not fit"
        )
    if not 0 < coverage < 1:
        raise ValueError(f"coverage must be between 0 and 1, got {coverage}")
    middle, scale = source.mean(axis=0), source.std(axis=0)
    scale = np.where(scale > 1e-12, scale, np.inf)
    design, wanted = _design(source, middle, scale), _design(target, middle, scale).mean(axis=0)
    unit = float(scores.mean()) or 1.0
    goal = _Goal(scores / unit, design, wanted, coverage)
    theta = np.zeros(design.shape[1])
    theta[0] = np.quantile(scores / unit, coverage)
    for weight in (0.0, strength / 4, strength):  # from the convex problem to the one that is not
        theta = minimize(goal, theta, args=(weight,), jac=True, method="L-BFGS-B").x
    raw = design @ theta
    floor = MIN_SHARE * float(np.maximum(raw, 0).mean())
    thresholds = np.maximum(raw, floor)
    factor = _weighted_quantile(scores / unit / thresholds, thresholds, coverage)
    return ShiftedThreshold(middle, scale, factor * unit * theta, factor * unit * floor)


@dataclass(frozen=True, eq=False)
class _Goal:
    """The objective with the best multiple eliminated, and its gradient."""

    scores: Floats
    design: Floats
    wanted: Floats
    coverage: float

    def __call__(self, theta: Floats, weight: float) -> tuple[float, Floats]:
        left = self.scores - self.design @ theta
        loss, slope = _pinball(left, self.coverage, SMOOTHING * float(self.scores.std() or 1.0))
        gradient = -self.design.T @ slope / len(left)
        # beta = E2[h] / E1[h^2]; the bracket is then -E2[h]^2 / E1[h^2].
        there = float(self.wanted @ theta)
        h = self.design @ theta
        square = float(np.mean(h**2)) + 1e-12
        ratio = there / square
        value = float(loss.mean()) - weight * there * ratio
        inner = self.design.T @ h / len(h)
        gradient += weight * (2 * ratio**2 * inner - 2 * ratio * self.wanted)
        return value, gradient


def _pinball(left: Floats, coverage: float, width: float) -> tuple[Floats, Floats]:
    """Pinball loss, rounded within ``width`` of its corner, and its slope."""
    upper, lower = coverage, coverage - 1
    share = np.clip((left + width) / (2 * width), 0, 1)
    slope = lower + (upper - lower) * share
    inside = np.abs(left) < width
    corner = lower * left + (upper - lower) * (left + width) ** 2 / (4 * width)
    return np.where(inside, corner, np.where(left > 0, upper, lower) * left), slope


def _weighted_quantile(values: Floats, weights: Floats, level: float) -> float:
    """Least value at or below which at least ``level`` of the weight lies."""
    order = np.argsort(values)
    total = np.cumsum(weights[order])
    return float(values[order][min(int(np.searchsorted(total, level * total[-1])), len(order) - 1)])


def _design(features: Floats, middle: Floats, scale: Floats) -> Floats:
    standard = (np.asarray(features, np.float64) - middle) / scale
    return np.concatenate([np.ones((len(standard), 1)), standard], axis=1)
