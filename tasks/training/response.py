"""A patch as another cone-beam scanner might show it: along a random rising curve."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthct.tasks.models.calibration import AIR_HU, SOFT_HU, WINDOW_HU

BELOW_HU = (AIR_HU, -700.0, -400.0, -120.0, SOFT_HU)
ABOVE_HU = (SOFT_HU, 150.0, 400.0, 900.0, 1600.0, WINDOW_HU[1])
"""Knots of the curve [HU]: air and soft tissue stay, as the calibration puts them there."""


@dataclass(frozen=True)
class RandomResponse:
    r"""Source in units of ``two_point`` through a piecewise linear, strictly rising curve.

    The slopes between the knots are :math:`e^{\sigma z}` with standard normal *z*. Below soft
    tissue they are scaled so that air stays; above it all share one more such factor, as the
    contrast of bone differs between scanners.

    Parameters
    ----------
    spread
        :math:`\sigma`.
    """

    spread: float

    def __call__(self, source: NDArray[Any], rng: np.random.Generator) -> NDArray[np.float32]:
        """Source (any shape) in network units, float32, clipped to [-1, 1]."""
        place, value = self.curve(rng)
        bent = np.clip(np.interp(source, place, value), -1, 1)
        return np.asarray(bent, np.float32)

    def curve(self, rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Knots and their values, both in network units."""
        below, above = np.diff(BELOW_HU), np.diff(ABOVE_HU)
        low = below * np.exp(self.spread * rng.standard_normal(below.size))
        low *= (SOFT_HU - AIR_HU) / low.sum()
        contrast = np.exp(self.spread * rng.standard_normal())
        high = above * contrast * np.exp(self.spread * rng.standard_normal(above.size))
        place = np.asarray([WINDOW_HU[0], *BELOW_HU, *ABOVE_HU[1:]])
        steps = np.concatenate([[AIR_HU - WINDOW_HU[0]], low, high])
        value = WINDOW_HU[0] + np.concatenate([[0.0], np.cumsum(steps)])
        middle, half = (WINDOW_HU[0] + WINDOW_HU[1]) / 2, (WINDOW_HU[1] - WINDOW_HU[0]) / 2
        return (place - middle) / half, (value - middle) / half
