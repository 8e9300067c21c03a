"""Peak signal-to-noise ratio inside the mask."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from synthct.tasks.evaluation.metrics import METRICS
from synthct.tasks.evaluation.pair import MaskedPair, Measured


@METRICS.register("psnr_db")
@dataclass(frozen=True)
class PeakSignalToNoise:
    r"""Peak signal-to-noise ratio :math:`10\log_{10}(R^2/\mathrm{MSE})` [dB].

    Both images are clipped to the profile's [low, high]; R = high - low; the mean squared error
    is taken over masked voxels only. Identical images have none (a ratio to zero).
    """

    def __call__(self, pair: MaskedPair) -> Measured:
        """Measure the pair."""
        low, high = pair.profile.low_hu, pair.profile.high_hu
        error = np.clip(pair.prediction[pair.mask], low, high)
        error -= np.clip(pair.reference[pair.mask], low, high)
        mean_square = float(np.mean(error * error))
        if mean_square == 0:
            return Measured({"psnr_db": None}, ("psnr_db: the images are identical",))
        return Measured({"psnr_db": float(10 * np.log10(pair.profile.width_hu**2 / mean_square))})
