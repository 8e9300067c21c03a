"""Mean error: the bias that a mean absolute error hides."""

from __future__ import annotations

from dataclasses import dataclass

from synthct.tasks.evaluation.metrics import METRICS
from synthct.tasks.evaluation.pair import MaskedPair, Measured


@METRICS.register("me_hu")
@dataclass(frozen=True)
class MeanError:
    r"""Mean error :math:`\sum (p - g)\,m / \sum m` [HU]; above 0: too dense."""

    def __call__(self, pair: MaskedPair) -> Measured:
        """Measure the pair."""
        return Measured({"me_hu": float((pair.prediction - pair.reference)[pair.mask].mean())})
