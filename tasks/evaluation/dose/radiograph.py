"""Digitally reconstructed radiographs: what patient positioning would compare."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthct.tasks.evaluation.dose.beams import seen_from
from synthct.tasks.evaluation.pair import Floats


def radiograph_mm(
    hu: NDArray[Any], spacing_mm: tuple[float, float, float], gantry_deg: float
) -> Floats:
    r"""Parallel-beam integral :math:`\int \max(0, 1 + HU/1000)\,ds` [mm of water], (Z, across).

    In units of water the beam's energy cancels; scatter and divergence are left out on purpose.
    """
    attenuation = np.maximum(0.0, 1.0 + np.asarray(hu, dtype=np.float64) / 1000.0)
    view = seen_from(attenuation, spacing_mm, gantry_deg)
    return np.asarray(view.values.sum(axis=1) * view.step_mm)
