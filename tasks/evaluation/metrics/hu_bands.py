"""Errors per HU band of the reference: a mean over the body hides bone and lung."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from synthct.tasks.evaluation.bands import HU_BANDS
from synthct.tasks.evaluation.metrics import METRICS
from synthct.tasks.evaluation.pair import MaskedPair, Measured


@METRICS.register("hu_bands")
@dataclass(frozen=True)
class ErrorPerBand:
    """MAE and ME [HU] over the masked voxels whose *reference* lies in each band.

    Parameters
    ----------
    least_voxels
        A band with fewer voxels in the reference gives no number.
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
