"""CT numbers that are not in HU: shifted, scaled, wrapped, inverted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from synthct.data.volume import Modality, Volume
from synthct.tasks.ingestion.findings import Code, Finding, Severity
from synthct.tasks.ingestion.guards import GUARDS

SHIFT_HU = 1024
"""The usual rescale intercept, forgotten or applied twice."""

FILL_HU = -1300.0
"""Lower values were not measured (see the guard ``padding``)."""

OFFSET = Code(
    "hu-offset",
    Severity.REJECT,
    "air is about 1024 HU too high: the rescale intercept was not applied",
    "apply the rescale intercept of -1024",
)
TWICE = Code(
    "rescale-twice",
    Severity.REJECT,
    "air is about 1024 HU too low: the rescale was applied twice",
    "apply the rescale only once",
)
INVERTED = Code(
    "inverted", Severity.REJECT, "air is bright and tissue is dark", "export it without inversion"
)
NO_UNIT = Code(
    "not-hounsfield",
    Severity.REJECT,
    "the values span far less or far more than HU do (normalised, or wrapped at 16 bits)",
    "export it in HU as signed integers",
)
NO_AIR = Code("no-air", Severity.NOTE, "hardly any air in view: HU could not be checked with it")
AIR_OFF = Code("air-off", Severity.NOTE, "air is not at -1000 HU", "check the calibration")

MIN_TISSUE_SHARE = 0.1
"""Smallest fraction of the box that is tissue."""


@GUARDS.register("hounsfield")
@dataclass(frozen=True)
class Hounsfield:
    """CT and CBCT are in HU: the darkest voxels are air at about -1000.

    Parameters
    ----------
    air_tolerance_hu
        Deviation of the darkest voxels of a CT from -1000 HU above which it is noted.
    narrowest_hu, widest_hu
        Limits of the span between the 0.5th and the 99.5th percentile.
    """

    air_tolerance_hu: float = 150.0
    narrowest_hu: float = 100.0
    widest_hu: float = 16000.0
    needs_mask: ClassVar[bool] = False

    def __call__(self, scan: Volume, mask: Volume | None) -> tuple[Volume, list[Finding]]:
        """Compare the dark end of the histogram with air, the centre with the rim."""
        if scan.modality not in (Modality.CT, Modality.CBCT):
            return scan, []
        values = np.asarray(scan.array[::2, ::2, ::2])
        if values.min() == values.max():
            return scan, []  # reported by the guard ``constant``
        found = self._unit(values) or self._shift(values) or _inverted(values)
        return scan, [found] if found else self._air(scan)

    def _unit(self, values: NDArray[Any]) -> Finding | None:
        low, high = (float(v) for v in np.percentile(values, (0.5, 99.5)))
        if self.narrowest_hu <= high - low <= self.widest_hu:
            return None
        return NO_UNIT.found(f"the middle 99 % of the voxels are between {low:.4g} and {high:.4g}")

    def _shift(self, values: NDArray[Any]) -> Finding | None:
        dark, bright = (float(v) for v in np.percentile(_measured(values), (1, 99.5)))
        if dark > -200 and bright > 800 and abs(dark + 1000 - SHIFT_HU) <= 60:
            return OFFSET.found(f"the darkest voxels are {dark:.0f} HU where air is -1000")
        # Fill values have a gap to air above them; a scan shifted down has lung and skin there.
        between = float(np.mean((values > -1900) & (values < -1150)))
        low = float(np.percentile(values, 1))
        if low < -1700 and between > 0.002 and bright < 800:
            sentence = f"air is at {low:.0f} HU and nothing is dense (99.5 %: {bright:.0f} HU)"
            return TWICE.found(sentence)
        return None

    def _air(self, scan: Volume) -> list[Finding]:
        measured = scan.array[scan.array > FILL_HU]
        dark = float(np.percentile(measured, 1)) if measured.size else FILL_HU
        if dark > -500:
            return [NO_AIR.found(f"hardly any air in view (1st percentile {dark:.0f} HU)")]
        air = measured[measured < -700]
        peak = float(np.median(air)) if air.size else dark
        if scan.modality is Modality.CT and abs(min(peak, dark) + 1000) > self.air_tolerance_hu:
            return [AIR_OFF.found(f"air is at about {peak:.0f} HU")]
        return []


def _measured(values: NDArray[Any]) -> NDArray[Any]:
    """The values without the lowest one where that fills what the scanner did not reconstruct."""
    low = values.min()
    fill = values == low
    return values[~fill] if 0.01 < fill.mean() < 0.9 else values.ravel()


def _inverted(values: NDArray[Any]) -> Finding | None:
    rim = float(np.median(np.concatenate([values[:, 0].ravel(), values[:, -1].ravel()])))
    middle = tuple(slice(size // 4, max(3 * size // 4, size // 4 + 1)) for size in values.shape)
    centre = float(np.median(values[middle]))
    if rim <= 500:
        return None
    # The middle of a thorax is lung, as bright as air when inverted; the tissue around it is dark.
    tissue = values[values < rim - 500]
    centre = float(np.median(tissue)) if tissue.size > MIN_TISSUE_SHARE * values.size else centre
    if centre < rim - 500:
        sentence = f"the rim ({rim:.0f} HU) is brighter than the centre ({centre:.0f} HU)"
        return INVERTED.found(sentence)
    return None
