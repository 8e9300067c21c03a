"""Single-scale SSIM of the 2023 challenge; not comparable with MS-SSIM."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from synthct.tasks.evaluation.metrics import METRICS
from synthct.tasks.evaluation.metrics.windows import mask_box, similarity
from synthct.tasks.evaluation.pair import Floats, Mask, MaskedPair, Measured

LOW_HU, HIGH_HU = -1024.0, 3000.0
"""Range of the 2023 challenge, R = 4024 and shift +1024; the chosen profile does not apply."""


@METRICS.register("ssim_2023")
@dataclass(frozen=True)
class SingleScaleSimilarity:
    """SSIM as scored in SynthRAD2023: 7^3 windows, R = 4024, mean over the mask.

    Images are clipped to [-1024, 3000] HU, -1024 outside the mask, shifted by +1024; the three
    outermost voxels of each side are dropped. Never compare it with MS-SSIM.

    Parameters
    ----------
    device
        ``cuda`` or ``cpu``: computed with torch there, equal to 1e-9; empty: with numpy.

    References
    ----------
    Huijben et al., Medical Image Analysis 97 (2024) 103276.
    """

    device: str = ""

    def __call__(self, pair: MaskedPair) -> Measured:
        """Measure the pair."""
        box = mask_box(pair.mask)
        if box is None:
            return Measured({"ssim_2023": None}, ("ssim_2023: no mask 3 voxels from the border",))
        x = np.clip(pair.reference, LOW_HU, HIGH_HU) - LOW_HU
        y = np.clip(pair.prediction, LOW_HU, HIGH_HU) - LOW_HU
        if self.device:
            return Measured({"ssim_2023": self._with_torch(x, y, pair.mask)})
        total, count = 0.0, 0
        for plane in similarity(x, y, pair.mask, box, HIGH_HU - LOW_HU):
            total += float(plane.sum())
            count += plane.size
        return Measured({"ssim_2023": total / count})

    def _with_torch(self, x: Floats, y: Floats, mask: Mask) -> float | None:
        from synthct.tasks.evaluation.metrics.on_device import device_called, level_mean, placed

        first, second, inside = placed((x, y, mask), device_called(self.device))
        return level_mean(first, second, inside, HIGH_HU - LOW_HU, 1.0)
