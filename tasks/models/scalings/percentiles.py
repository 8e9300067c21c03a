"""Scalings by percentiles of the body: two of them, or all deciles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from synthct.tasks.models.scalings import SCALINGS, Linear, Piecewise, Transform

UPPER_PERCENTILE = 99.5
"""Percentile used as the maximum; the last half per cent is metal, vessels and inflow."""


@SCALINGS.register("min_p99.5")
@dataclass(frozen=True)
class MinToUpper:
    """Minimum and 99.5th percentile of the body become -1 and 1; values beyond are clipped."""

    span: ClassVar[tuple[float, float]] = (-1.0, 1.0)

    def fit(
        self, inside: NDArray[np.float64], scan: NDArray[Any], mask: NDArray[Any]
    ) -> Transform | None:
        """Fit to the intensities inside a body (voxels,)."""
        return _between(float(inside.min()), float(np.percentile(inside, UPPER_PERCENTILE)), True)


@SCALINGS.register("percentiles")
@dataclass(frozen=True)
class Percentiles:
    """The 1st and the 99th percentile of the body become -1 and 1; values beyond are kept.

    Unlike the minimum, the 1st percentile is not one voxel of padding or noise.

    References
    ----------
    Shinohara et al., Statistical normalization techniques for magnetic resonance imaging,
    NeuroImage: Clinical 6 (2014) 9-19, doi:10.1016/j.nicl.2014.08.008.
    """

    span: ClassVar[tuple[float, float]] = (-1.5, 2.5)

    def fit(
        self, inside: NDArray[np.float64], scan: NDArray[Any], mask: NDArray[Any]
    ) -> Transform | None:
        """Fit to the intensities inside a body (voxels,)."""
        low, high = np.percentile(inside, (1, 99))
        return _between(float(low), float(high), False)


LANDMARKS = (1.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0, 99.0)
"""Percentiles that serve as landmarks: the deciles, and the ends of the histogram."""


@SCALINGS.register("landmarks")
@dataclass(frozen=True)
class Landmarks:
    r"""Landmarks of the histogram are mapped to a standard scale, linear between them.

    Landmark :math:`m_k`, the :math:`p_k`-th percentile of the body for :math:`p` = 1, 10, 20, ...,
    90, 99, becomes :math:`(p_k - 50) / 49`. In the paper the standard scale is the mean of the
    landmarks of training scans; this one is fixed, so that a scan's numbers do not depend on the
    training set. It presupposes that scans show the same share of each tissue. Landmarks that
    coincide (flat background) count once.

    References
    ----------
    Nyúl, Udupa & Zhang, New Variants of a Method of MRI Scale Standardization, IEEE Trans. Med.
    Imaging 19 (2000) 143-150, doi:10.1109/42.836373.
    """

    span: ClassVar[tuple[float, float]] = (-1.5, 2.5)

    def fit(
        self, inside: NDArray[np.float64], scan: NDArray[Any], mask: NDArray[Any]
    ) -> Transform | None:
        """Fit to the intensities inside a body (voxels,)."""
        marks = np.percentile(inside, LANDMARKS)
        knots, first = np.unique(marks, return_index=True)
        if knots.size < 2:
            return None
        values = (np.asarray(LANDMARKS)[first] - 50.0) / 49.0
        return Piecewise(tuple(knots.tolist()), tuple(values.tolist()))


def _between(low: float, high: float, clipped: bool) -> Transform | None:
    return Linear((low + high) / 2, (high - low) / 2, clipped) if high > low else None
