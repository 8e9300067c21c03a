"""Errors in HU: MAE, mean error, PSNR and errors by HU band."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from synthct.tasks.evaluation.metrics import METRICS
from synthct.tasks.evaluation.pair import MaskedPair, Measured
from synthct.tasks.evaluation.profiles import HU_BANDS


@METRICS.register("mae_hu")
@dataclass(frozen=True)
class MeanAbsoluteError:
    r"""Mean absolute error :math:`\sum |g - p|\,m / \sum m` [HU], without any clipping."""

    def __call__(self, pair: MaskedPair) -> Measured:
        """Measure the pair."""
        error = (pair.prediction - pair.reference)[pair.mask]
        return Measured({"mae_hu": float(np.abs(error).mean())})


@METRICS.register("me_hu")
@dataclass(frozen=True)
class MeanError:
    r"""Mean error :math:`\sum (p - g)\,m / \sum m` [HU]; positive: too dense."""

    def __call__(self, pair: MaskedPair) -> Measured:
        """Measure the pair."""
        return Measured({"me_hu": float((pair.prediction - pair.reference)[pair.mask].mean())})


@METRICS.register("psnr_db")
@dataclass(frozen=True)
class PeakSignalToNoise:
    r"""Peak signal-to-noise ratio :math:`10\log_{10}(R^2/\mathrm{MSE})` [dB].

    Both images are clipped to the profile's [low, high]; R = high - low; the mean squared error
    is taken over masked voxels only. Undefined (None) for identical images.
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


@METRICS.register("hu_bands")
@dataclass(frozen=True)
class ErrorPerBand:
    """MAE and ME [HU] over the masked voxels whose *reference* lies in each band.

    Parameters
    ----------
    least_voxels
        A band with fewer voxels in the reference has no value.
    """

    least_voxels: int = 1

    def __call__(self, pair: MaskedPair) -> Measured:
        """Measure the pair: ``mae_hu_BAND`` and ``me_hu_BAND``."""
        reference = pair.reference[pair.mask]
        error = pair.prediction[pair.mask] - reference
        values: dict[str, float | None] = {}
        for name, (low, high) in HU_BANDS.items():
            inside = error[(reference >= low) & (reference < high)]
            enough = inside.size >= max(1, self.least_voxels)
            values[f"mae_hu_{name}"] = float(np.abs(inside).mean()) if enough else None
            values[f"me_hu_{name}"] = float(inside.mean()) if enough else None
        return Measured(values)
