r"""Blind two-point calibration of a cone-beam CT: air to -1000 HU, soft tissue to +40 HU.

.. math:: \mathrm{HU} = -1000 + 1040\,\frac{v - a}{s - a}

with *a* the scan's air and *s* the mode of its soft tissue. Both are found in the scan alone: no CT
and no training is needed. The result does not depend on the scan's gain and offset, on the value
outside its field of view, or on how much skull or lung is in view.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from synthct.data.errors import DataError

AIR_HU, SOFT_HU = -1000.0, 40.0

WINDOW_HU = (-1024.0, 3071.0)
"""Calibrated values that become [-1, 1]: the default target's window, whatever the target's own."""

MAX_VOXELS = 2_000_000
"""Voxels looked at: more would not change the modes."""

MIN_VOXELS = 64
"""Fewer voxels of air beside the body show no mode."""

FLAT_SHARE = 0.005
"""Share of rows of three equal voxels from which on their value counts as a fill value."""

COARSE_WIDTH, FINE_WIDTH = 0.04, 0.012
"""Standard deviation of the smoothing of histograms: of the logarithm of the signal over air, and
of the distance between air and soft tissue (12 HU)."""

SECOND_PEAK = 0.5
"""Fat may be the higher peak: the brightest one of at least this share of the highest is taken."""

MODE_TOLERANCE = (0.84, 1.25)
"""Where peaks of soft tissue lie, relative to the first estimate."""

GAS_RANGE = 0.2
"""Gas inside the body lies in this part of the range from its darkest voxel to its median."""

MIN_AIR_DENSITY = 0.15
"""Share of the voxels beside the body within 3 % of their mode: else these are edges, not air."""


@dataclass(frozen=True)
class Calibration:
    """Where a scan has air and soft tissue.

    Parameters
    ----------
    air, soft
        Values of air and of soft tissue, in the scan's own numbers.
    """

    air: float
    soft: float

    @property
    def gain(self) -> float:
        """HU per unit of the scan."""
        return (SOFT_HU - AIR_HU) / (self.soft - self.air)

    @property
    def at_soft_hu(self) -> float:
        """What the calibration adds at soft tissue, if the scan's numbers are taken as HU [HU]."""
        return SOFT_HU - self.soft

    def hu(self, array: NDArray[Any]) -> NDArray[np.float32]:
        """The scan in calibrated HU (any shape); a new float32 array."""
        calibrated = array.astype(np.float32)
        calibrated -= np.float32(self.air)
        calibrated *= np.float32(self.gain)
        calibrated += np.float32(AIR_HU)
        return calibrated

    def as_json(self) -> dict[str, float]:
        """Air and soft tissue of the scan, and what the calibration does, as plain JSON."""
        return {
            "air": round(self.air, 2),
            "soft_tissue": round(self.soft, 2),
            "gain": round(self.gain, 5),
            "added_at_soft_tissue_hu": round(self.at_soft_hu, 2),
        }

    @property
    def sentence(self) -> str:
        """For people."""
        return (
            f"soft tissue lies at {self.soft:.0f} and air at {self.air:.0f} in the scan: "
            f"calibrated blindly to {SOFT_HU:.0f} and {AIR_HU:.0f} HU (times {self.gain:.3g}, "
            f"{self.at_soft_hu:+.0f} at soft tissue)"
        )


def calibrate(array: NDArray[Any], mask: NDArray[Any]) -> Calibration:
    """Find air and soft tissue of a scan.

    Air: the mode of what lies beside the body, without fill values; the fill value itself where
    the scanner clips air to it; gas inside the body where nothing else is left. Soft tissue: the
    densest values of the body on a logarithmic scale of the signal over air, where bone and lung
    are spread out; then the brightest clear peak around it.

    Parameters
    ----------
    array
        The scan, (Z, Y, X), in any linear unit.
    mask
        Its body mask, (Z, Y, X); voxels > 0 are inside.

    Raises
    ------
    DataError
        ``calibration-impossible``: there is no air, or no soft tissue brighter than it.
    """
    inside = np.asarray(mask) > 0
    fills = _fill_values(array, inside)
    body = _subsampled(array[inside])
    beside = _subsampled(array[~inside])
    body, around = (part[np.isfinite(part) & ~np.isin(part, fills)] for part in (body, beside))
    if body.size < MIN_VOXELS:
        raise _impossible("the body holds too few voxels")
    middle = float(np.median(body))
    air = _air(around[around < middle], body, [fill for fill in fills if fill < middle])
    if air is None or not air < middle:
        raise _impossible("no air is in view: neither beside the body nor in it")
    soft = _soft(body[body > air] - air)
    if not soft > 0:
        raise _impossible("no tissue is brighter than air")
    return Calibration(air, air + soft)


def _impossible(problem: str) -> DataError:
    return DataError(
        problem,
        rule="a two-point calibration needs air and soft tissue in the scan",
        remedy="check the body mask and that the scan is a cone-beam CT; a crop needs a margin of "
        "air, or gas inside the body",
        code="calibration-impossible",
    )


def _subsampled(values: NDArray[Any]) -> NDArray[np.float64]:
    step = max(1, values.size // MAX_VOXELS)
    return values[::step].astype(np.float64)


def _fill_values(array: NDArray[Any], inside: NDArray[np.bool_]) -> list[float]:
    """Values of which whole rows beside the body consist: measured air is never so flat."""
    step = max(1, array.shape[0] * array.shape[1] * array.shape[2] // (4 * MAX_VOXELS))
    rows, beside = array[::step], ~inside[::step]
    same = (rows[..., 1:-1] == rows[..., :-2]) & (rows[..., 1:-1] == rows[..., 2:])
    flat = rows[..., 1:-1][same & beside[..., 1:-1]]
    values, counts = np.unique(flat, return_counts=True)
    least = FLAT_SHARE * max(1, int(np.count_nonzero(beside)))
    return [float(v) for v in values[counts >= least]]


def _air(
    around: NDArray[np.float64], body: NDArray[np.float64], fills: list[float]
) -> float | None:
    if around.size >= MIN_VOXELS:
        width = float(np.percentile(body, 75) - np.percentile(around, 2))
        found = _mode(around, 0.01 * width)
        share = float(np.mean(np.abs(around - found) < 0.03 * width))
        if share > MIN_AIR_DENSITY:
            return found
    if fills:
        return max(fills)  # a scanner that clips its air: nothing flat is nearer to tissue
    return _gas(body)


def _gas(body: NDArray[np.float64]) -> float | None:
    """The mode of the darkest values inside the body, unless they are the tail of others."""
    darkest, middle = float(body.min()), float(np.median(body))
    limit = darkest + GAS_RANGE * (middle - darkest)
    gas = body[body < limit]
    if gas.size < MIN_VOXELS:
        return None
    width = 0.01 * (middle - darkest)
    found = _mode(gas, width)
    return found if found < limit - 3 * width else None


def _soft(signal: NDArray[np.float64]) -> float:
    """Signal of soft tissue over air."""
    logarithm = np.log(signal[signal > 0.02 * np.percentile(signal, 99)])
    if logarithm.size < MIN_VOXELS:
        return 0.0
    first = float(np.exp(_mode(logarithm, COARSE_WIDTH)))
    for _ in range(3):
        near = signal[(signal > MODE_TOLERANCE[0] * first) & (signal < MODE_TOLERANCE[1] * first)]
        found = _mode(near, FINE_WIDTH * first, brightest=SECOND_PEAK)
        if abs(found - first) < 1e-3 * first:
            return found
        first = found
    return first


def _mode(values: NDArray[np.float64], width: float, brightest: float | None = None) -> float:
    """Mode of values after smoothing their histogram by a Gaussian of this standard deviation.

    ``brightest``: instead of the highest peak, the last one of at least this share of it.
    """
    low, high = float(values.min()), float(values.max())
    step = width / 8
    bins = int(min(200_000, max(1, np.ceil((high - low) / step)))) + 1
    counts, edges = np.histogram(values, bins, (low - step / 2, low - step / 2 + bins * step))
    smooth = gaussian_filter1d(counts.astype(np.float64), 8.0, mode="constant")
    at = int(smooth.argmax())
    if brightest is not None:
        inner = smooth[1:-1]
        peaks = 1 + np.flatnonzero((inner >= smooth[:-2]) & (inner > smooth[2:]))
        tall = peaks[smooth[peaks] >= brightest * smooth[at]]
        at = int(tall[-1]) if tall.size else at
    return float(edges[at] + (edges[1] - edges[0]) / 2 + _parabola_peak(smooth, at) * step)


def _parabola_peak(smooth: NDArray[np.float64], at: int) -> float:
    """Where between bins a parabola through a peak has its vertex, in bins from it."""
    if not 0 < at < smooth.size - 1:
        return 0.0
    before, here, after = smooth[at - 1 : at + 2]
    bend = before - 2 * here + after
    return float(0.5 * (before - after) / bend) if bend < 0 else 0.0
