"""Scaling by the mean and the standard deviation of the body."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from synthct.tasks.models.scalings import SCALINGS, Linear, Transform


@SCALINGS.register("zscore_in_mask")
@dataclass(frozen=True)
class ZScore:
    r"""Mean 0 and standard deviation 1 over the body, :math:`y = (x - \mu) / \sigma`.

    Not clipped. Both numbers depend on how much fat and muscle the field of view holds: the same
    muscle of a fat thigh and of a lean calf gets different values.

    References
    ----------
    Reinhold, Dewey, Carass & Prince, Evaluating the Impact of Intensity Normalization on MR Image
    Synthesis, SPIE Medical Imaging 2019, arXiv:1812.04652.
    """

    span: ClassVar[tuple[float, float]] = (-4.0, 8.0)

    def fit(
        self, inside: NDArray[np.float64], scan: NDArray[Any], mask: NDArray[Any]
    ) -> Transform | None:
        """Fit to the intensities inside a body (voxels,)."""
        width = float(inside.std())
        return Linear(float(inside.mean()), width) if width > 0 else None
