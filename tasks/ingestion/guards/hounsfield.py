"""Hounsfield units that are none: shifted, scaled twice, inverted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from data.volume import Modality, Volume
from tasks.ingestion.findings import Finding, Severity
from tasks.ingestion.guards import GUARDS

SHIFT_HU = 1024
"""The usual rescale intercept, forgotten or applied twice."""

FILL_HU = -1300.0
"""Lower values were not measured (see the guard ``padding``)."""


@GUARDS.register("hounsfield")
@dataclass(frozen=True)
class Hounsfield:
    """CT and CBCT are in HU: the darkest voxels are air at about -1000.

    Parameters
    ----------
    air_tolerance_hu
        Departure of the darkest two percent from -1000 HU that a CT may have.
    """

    air_tolerance_hu: float = 150.0
    needs_mask: bool = False

    def __call__(self, scan: Volume, mask: Volume | None) -> tuple[Volume, list[Finding]]:
        """Compare the dark end of the histogram with air, the centre with the rim."""
        if scan.modality not in (Modality.CT, Modality.CBCT):
            return scan, []
        values = scan.array[::2, ::2, ::2]
        dark, bright = (float(v) for v in np.percentile(values, (1, 99.5)))
        rim = np.median(np.concatenate([values[:, 0].ravel(), values[:, -1].ravel()]))
        if dark > -200 and bright > 800 and abs(dark + 1000 - SHIFT_HU) <= 60:
            return scan, [
                _unfit(
                    "hu-offset",
                    f"the darkest voxels are {dark:.0f} HU where air is -1000",
                    "apply the rescale intercept of -1024",
                )
            ]
        # Fill values stand alone below air; a scan shifted down has lung and skin in between.
        between = float(np.mean((values > -1900) & (values < -1150)))
        if dark < -1700 and between > 0.002 and bright < 800:
            sentence = f"air lies at {dark:.0f} HU and nothing is dense (99.5 %: {bright:.0f} HU)"
            return scan, [_unfit("rescale-twice", sentence, "apply the rescale only once")]
        centre = float(np.median(_middle(values)))
        if rim > 500 and centre < rim - 500:
            sentence = f"the rim ({rim:.0f} HU) is brighter than the centre ({centre:.0f} HU)"
            return scan, [_unfit("inverted", sentence, "export it without inversion")]
        return scan, self._air(scan)

    def _air(self, scan: Volume) -> list[Finding]:
        measured = scan.array[scan.array > FILL_HU]
        dark = float(np.percentile(measured, 1)) if measured.size else FILL_HU
        if dark > -500:
            sentence = (
                f"hardly any air in view (1st percentile {dark:.0f} HU), HU not checked by it"
            )
            return [Finding("no-air", Severity.NOTE, sentence)]
        air = measured[measured < -700]
        peak = float(np.median(air)) if air.size else dark
        if scan.modality is Modality.CT and abs(min(peak, dark) + 1000) > self.air_tolerance_hu:
            sentence = f"air lies at about {peak:.0f} HU"
            return [Finding("air-off", Severity.NOTE, sentence, "check the calibration")]
        return []


def _unfit(code: str, sentence: str, remedy: str) -> Finding:
    return Finding(code, Severity.REJECT, sentence, remedy)


def _middle(values: np.ndarray) -> np.ndarray:
    return values[
        tuple(slice(size // 4, max(3 * size // 4, size // 4 + 1)) for size in values.shape)
    ]
