"""The model's gain over the best simple method: one definition for summary, gate and report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from synthct.data.tables import floats_to_six_digits
from synthct.tasks.evaluation.statistics.paired import (
    Interval,
    paired_bootstrap,
    ratio_of_means,
)

BASELINES = ("constant", "lookup", "linear", "raw")
"""Methods that make an image without a network. The unregistered CT is not one of them: who needs
a synthetic CT has no CT."""


@dataclass(frozen=True)
class Gain:
    """Mean MAE [HU] of model and best baseline on the same cases, and the interval of the ratio."""

    baseline: str
    model_mae_hu: float
    baseline_mae_hu: float
    ratio: Interval

    def as_json(self) -> dict[str, Any]:
        """``{baseline, cases, model_mae_hu, baseline_mae_hu, ratio, low, high}``.

        The limits are null for too few cases.
        """
        numbers = {
            "model_mae_hu": self.model_mae_hu,
            "baseline_mae_hu": self.baseline_mae_hu,
            "ratio": self.ratio.value,
            "low": self.ratio.low,
            "high": self.ratio.high,
        }
        rounded = {k: None if v is None else floats_to_six_digits(v) for k, v in numbers.items()}
        return {"baseline": self.baseline, "cases": self.ratio.n, **rounded}


def gain_over_best(
    mae_hu: Mapping[str, Mapping[str, float]], rng: np.random.Generator, *, draws: int = 2000
) -> Gain | None:
    """The gain over the baseline of lowest mean MAE; None without a case that all methods have.

    The best baseline is chosen on the cases that it is compared on, which favours the baseline:
    the gain is not exaggerated by a choice.

    Parameters
    ----------
    mae_hu
        Method to case to MAE [HU]; methods other than ``model`` and :data:`BASELINES` are ignored.
    """
    names = [name for name in BASELINES if mae_hu.get(name)]
    if not names or not mae_hu.get("model"):
        return None
    shared = sorted(set(mae_hu["model"]).intersection(*(mae_hu[name] for name in names)))
    if not shared:
        return None
    scores = {name: np.array([mae_hu[name][case] for case in shared]) for name in ("model", *names)}
    best = min(names, key=lambda name: float(scores[name].mean()))
    if not scores[best].any():
        return None
    ratio = paired_bootstrap(scores["model"], scores[best], ratio_of_means, rng, draws=draws)
    return Gain(best, float(scores["model"].mean()), float(scores[best].mean()), ratio)
