"""Piecewise linear calibration curves from HU to the densities of a treatment planning system."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class HuCurve:
    """Value relative to water at nodes in HU, linear between them, constant beyond.

    Parameters
    ----------
    name
        Name of the quantity.
    nodes
        (HU, value) with increasing HU and values that do not decrease.
    """

    name: str
    nodes: tuple[tuple[float, float], ...]

    def __post_init__(self) -> None:
        hu, values = np.array(self.nodes, float).reshape(-1, 2).T
        if len(hu) < 2 or (np.diff(hu) <= 0).any() or (np.diff(values) < 0).any():
            raise ValueError(
                f"a curve has at least two nodes of increasing HU and values that do not fall, got "
                f"{self.nodes}"
            )
        if values.min() < 0:
            raise ValueError(f"a curve's values are at least 0, got {values.min():g}")

    def __call__(self, hu: NDArray[Any]) -> NDArray[np.float64]:
        """The value of each voxel."""
        known, values = np.array(self.nodes, float).T
        return np.asarray(np.interp(hu, known, values))


ELECTRON_DENSITY = HuCurve(
    "relative electron density",
    ((-1000.0, 0.001), (0.0, 1.0), (100.0, 1.07), (1000.0, 1.513), (3071.0, 2.575)),
)
"""Photons: 1 + HU/1000 in soft tissue, 1 + HU/1950 in bone, joined continuously.

After Thomas, Br J Radiol 72 (1999) 781-786. For a generic scanner; clinics have their own curve.
"""

STOPPING_POWER = HuCurve(
    "relative proton stopping power",
    ((-1000.0, 0.001), (-110.0, 0.944), (-10.0, 1.0), (45.0, 1.045), (140.0, 1.085),
     (1000.0, 1.52), (2000.0, 2.02), (3071.0, 2.55)),
)  # fmt: skip
"""Protons: a generic curve like those of the stoichiometric calibration.

The method is that of Schneider, Pedroni & Lomax, Phys Med Biol 41 (1996) 111-124; the nodes are
rounded, belong to no scanner, and should be replaced by the clinic's.
"""


def curve_from(name: str, nodes: Sequence[Sequence[float]] | None, usual: HuCurve) -> HuCurve:
    """The curve with the given nodes, or the usual one if none are given."""
    if not nodes:
        return usual
    return HuCurve(name, tuple((float(hu), float(value)) for hu, value in nodes))
