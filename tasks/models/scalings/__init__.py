"""Registry of source scalings, and the fitted functions from intensities to network units.

A scaling is fitted to the voxels in the body of a single scan, so that training, validation and
prediction of new scans work alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from synthct.data.registry import Registry


class Transform(Protocol):
    """A fitted scaling, applied to a whole scan or any part of it."""

    def __call__(self, array: NDArray[Any]) -> NDArray[np.float32]:
        """Scale intensities (any shape); a new float32 array."""


@dataclass(frozen=True)
class Linear:
    """``y = (x - shift) / width``, clipped to [-1, 1] where ``clipped``."""

    shift: float
    width: float
    clipped: bool = False

    def __call__(self, array: NDArray[Any]) -> NDArray[np.float32]:
        """Scale intensities (any shape); a new float32 array."""
        scaled = array.astype(np.float32)
        scaled -= np.float32(self.shift)
        scaled *= np.float32(1.0 / self.width)
        return np.clip(scaled, -1.0, 1.0, out=scaled) if self.clipped else scaled


@dataclass(frozen=True)
class Piecewise:
    """Linear between knots that rise, and along the first and last piece beyond them."""

    knots: tuple[float, ...]
    values: tuple[float, ...]

    def __call__(self, array: NDArray[Any]) -> NDArray[np.float32]:
        """Scale intensities (any shape); a new float32 array."""
        x, y = np.asarray(self.knots), np.asarray(self.values)
        flat = array.astype(np.float64)
        scaled = np.interp(flat, x, y)
        for end, first, second in ((flat < x[0], 0, 1), (flat > x[-1], -1, -2)):
            slope = (y[second] - y[first]) / (x[second] - x[first])
            scaled[end] = y[first] + (flat[end] - x[first]) * slope
        result: NDArray[np.float32] = scaled.astype(np.float32)
        return result


class Scaling(Protocol):
    """How intensities of the source become network units; a frozen dataclass of this package."""

    span: ClassVar[tuple[float, float]]
    """Network units between which nearly all voxels of a body lie: the range of a look-up table."""

    def fit(
        self, inside: NDArray[np.float64], scan: NDArray[Any], mask: NDArray[Any]
    ) -> Transform | None:
        """Fit to the intensities inside a body (voxels,); None where they do not vary enough.

        ``scan`` and ``mask`` (Z, Y, X) are for scalings that look beside the body too.
        """


SCALINGS: Registry[Scaling] = Registry(
    "source scaling", group="synthct.scalings", package="synthct.tasks.models.scalings"
)
