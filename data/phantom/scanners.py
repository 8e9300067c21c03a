"""Cone-beam scanners drawn at random: each patient's CBCT can come from another one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from synthct.data.phantom.imager import Imager

Range = tuple[float, float]

RANGES: Mapping[str, Range] = {
    "scatter": (0.02, 0.10),
    "scatter_width_mm": (60.0, 120.0),
    "beam_shift_kev": (0.0, 12.0),
    "water_precorrection": (0.4, 1.0),
    "bone_precorrection": (0.5, 1.0),
    "bone_contrast": (0.65, 0.85),
    "bow_tie": (0.0, 1.2),
    "window": (0.8, 2.0),
    "photons_per_mm2": (1.0e4, 4.0e4),
    "gain": (0.94, 1.06),
    "offset_hu": (-60.0, 60.0),
    "diameter_mm": (230.0, 300.0),
}
"""Lowest and highest value of each parameter (:class:`~synthct.data.phantom.imager.Imager`).

``photons_per_mm2`` at the isocentre is drawn on a logarithmic scale. ``diameter_mm`` is the
cylinder that the detector sees: below the width of the body it is truncated. ``bone_contrast``
spans what was seen on a head-and-neck scanner, about 0.73, and what a CT would show, 1, in part.
"""

BOUNDS: Mapping[str, Range] = {
    "scatter": (0.0, 0.5),
    "scatter_width_mm": (20.0, 300.0),
    "beam_shift_kev": (-15.0, 25.0),
    "water_precorrection": (0.0, 1.0),
    "bone_precorrection": (0.0, 1.0),
    "bone_contrast": (0.3, 1.2),
    "bow_tie": (0.0, 3.0),
    "window": (0.4, 4.0),
    "photons_per_mm2": (5e2, 1e7),
    "gain": (0.5, 1.5),
    "offset_hu": (-300.0, 300.0),
    "diameter_mm": (120.0, 600.0),
}
"""What no scanner exceeds."""

LOGARITHMIC = frozenset({"photons_per_mm2"})

FILL_HU = (-1024.0, -1000.0)
HALF_FAN_SHARE, HALF_FAN_MM = 0.5, 20.0
BONE_START_HU = 50.0
"""CT number above which a scanner's response to bone is linear [HU]: that of soft tissue."""


@dataclass(frozen=True)
class ConeBeamScanner:
    """One scanner: its imager's parameters and the cylinder it sees."""

    parameters: Mapping[str, float]
    half_fan: bool
    fill_hu: float

    def imager(self, pixel_mm: float) -> Imager:
        """The imager with detector pixels of ``pixel_mm`` at the isocentre."""
        own = dict(self.parameters)
        per_mm2 = own.pop("photons_per_mm2")
        own.pop("diameter_mm")
        return Imager(
            photons=per_mm2 * pixel_mm * pixel_mm,
            half_fan_mm=HALF_FAN_MM if self.half_fan else 0.0,
            fill_hu=self.fill_hu,
            bone_start_hu=BONE_START_HU,
            **own,
        )

    def as_json(self) -> dict[str, Any]:
        """Its parameters as plain JSON, for the record of a cohort."""
        return {**self.parameters, "half_fan": self.half_fan, "fill_hu": self.fill_hu}


def draw_scanner(
    ranges: Mapping[str, Range], rng: np.random.Generator, *, outside: int = 0
) -> ConeBeamScanner:
    """A scanner with each parameter drawn from its range.

    Parameters
    ----------
    ranges
        Lowest and highest value by name, in place of ``RANGES``.
    outside
        Number of parameters, chosen at random, that are drawn beyond their range: by up to half
        its width below or above, as far as ``BOUNDS`` allow. The range must leave room there.
    """
    ranges = {**RANGES, **ranges}
    names = sorted(RANGES)
    at = {name: float(rng.uniform()) for name in names}
    order = [str(name) for name in rng.permutation(names)]
    beyond = set([name for name in order if _sides(name, ranges[name])][:outside])
    above = {name: bool(rng.uniform() < 0.5) for name in names}
    return ConeBeamScanner(
        {
            name: _beyond(name, ranges[name], at[name], above=above[name])
            if name in beyond
            else _within(name, ranges[name], at[name])
            for name in names
        },
        half_fan=bool(rng.uniform() < HALF_FAN_SHARE),
        fill_hu=float(rng.choice(FILL_HU)),
    )


def _within(name: str, ends: Range, share: float) -> float:
    low, high = _scaled(name, ends)
    return _unscaled(name, low + share * (high - low))


def _sides(name: str, ends: Range) -> list[Range]:
    """(nearest, farthest) of the intervals below and above a range, as far as the bounds allow."""
    low, high = _scaled(name, ends)
    least, most = _scaled(name, BOUNDS[name])
    half = 0.5 * (high - low)
    sides = [(low, max(low - half, least)), (high, min(high + half, most))]
    return [(near, far) for near, far in sides if abs(far - near) > 0.2 * half]


def _beyond(name: str, ends: Range, share: float, *, above: bool) -> float:
    """A value in the outer half of the interval beyond the range."""
    near, far = _sides(name, ends)[-1 if above else 0]
    return _unscaled(name, far + 0.5 * share * (near - far))


def _scaled(name: str, ends: Range) -> Range:
    low, high = np.log(ends) if name in LOGARITHMIC else ends
    return float(low), float(high)


def _unscaled(name: str, value: float) -> float:
    return float(np.exp(value)) if name in LOGARITHMIC else value
