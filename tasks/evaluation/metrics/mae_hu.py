"""Mean absolute error."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from synthct.tasks.evaluation.metrics import METRICS
from synthct.tasks.evaluation.pair import MaskedPair, Measured


@METRICS.register("mae_hu")
@dataclass(frozen=True)
class MeanAbsoluteError:
    r"""Mean absolute error :math:`\sum |g - p|\,m / \sum m` [HU], without any clipping."""

    def __call__(self, pair: MaskedPair) -> Measured:
        """Measure the pair."""
        error = (pair.prediction - pair.reference)[pair.mask]
        return Measured({"mae_hu": float(np.abs(error).mean())})
