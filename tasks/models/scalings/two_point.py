"""Scaling of a cone-beam CT by its blind calibration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from synthct.tasks.models.calibration import AIR_HU, WINDOW_HU, calibrate
from synthct.tasks.models.scalings import SCALINGS, Linear, Transform


@SCALINGS.register("two_point")
@dataclass(frozen=True)
class TwoPoint:
    """Calibrated HU of a cone-beam CT, [-1024, 3071] HU mapped to [-1, 1] and clipped.

    Air becomes -1000 and soft tissue 40 HU (:mod:`synthct.tasks.models.calibration`), so that the
    absolute number survives and does not depend on how much bone is in view.
    """

    span: ClassVar[tuple[float, float]] = (-1.0, 1.0)

    def fit(
        self, inside: NDArray[np.float64], scan: NDArray[Any], mask: NDArray[Any]
    ) -> Transform | None:
        """Calibrate the scan; raises ``calibration-impossible`` where it shows no air or tissue."""
        found = calibrate(scan, mask)
        low, high = WINDOW_HU
        middle, half = (low + high) / 2, (high - low) / 2
        shift = found.air + (middle - AIR_HU) / found.gain
        return Linear(shift, half / found.gain, clipped=True)
