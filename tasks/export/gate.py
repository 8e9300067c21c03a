"""Scores of unseen patients: summary for the card, and the comparison with a naive baseline."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from synthct.data.errors import SynthctError
from synthct.data.tables import six_digits
from synthct.tasks.export.params import GateParams

Row = Mapping[str, str]
"""A row of ``evaluation/scores.csv``."""


def summarise(rows: Iterable[Row], source: str) -> list[dict[str, Any]]:
    """Mean and SD over cases for each method, reference and metric, with the number of cases."""
    values: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for row in rows:
        if row["source"] == source and (value := _number(row)) is not None:
            values[row["method"], row["reference"], row["metric"]].append(value)
    return [
        {
            "method": method,
            "reference": reference,
            "metric": metric,
            "n": len(found),
            "mean": six_digits(float(np.mean(found))),
            "sd": six_digits(float(np.std(found, ddof=1))) if len(found) > 1 else None,
        }
        for (method, reference, metric), found in sorted(values.items())
    ]


@dataclass(frozen=True)
class Gate:
    """Mean MAE [HU] of model and baseline over the cases that have both scores."""

    baseline: str
    reference: str
    max_ratio: float
    cases: int
    model_mae_hu: float
    baseline_mae_hu: float

    def as_json(self) -> dict[str, Any]:
        """For the card."""
        return {key: six_digits(v) if isinstance(v, float) else v for key, v in vars(self).items()}

    def refusal(self, source: str) -> SynthctError | None:
        """Why the release is refused, if the model's MAE exceeds ``max_ratio`` x baseline's."""
        if self.model_mae_hu <= self.max_ratio * self.baseline_mae_hu:
            return None
        return SynthctError(
            f"the model's mean MAE is {self.model_mae_hu:.1f} HU, that of the "
            f"{self.baseline} baseline {self.baseline_mae_hu:.1f} HU, on the same {self.cases} "
            f"unseen cases ({self.reference} CT)",
            rule=f"the model's MAE may be at most {self.max_ratio:g} times that of the baseline",
            where=source,
            remedy="train longer or on more patients, or change export.gate.max_ratio",
            code="gate-score",
        )


def hold_gate(rows: Sequence[Row], source: str, params: GateParams) -> Gate:
    """Compare the model with the source's baseline.

    Raises
    ------
    SynthctError
        Fewer cases than ``min_cases`` are scored with both.
    """
    baseline = params.baseline(source)
    model, naive = (_mae(rows, source, m, params.reference) for m in ("model", baseline))
    shared = sorted(set(model) & set(naive))
    if len(shared) < params.min_cases:
        raise SynthctError(
            f"only {len(shared)} unseen cases are scored for both the model and the "
            f"{baseline} baseline against the {params.reference} CT",
            rule=f"a release needs at least {params.min_cases} such cases",
            where=source,
            remedy="add patients, or adapt export.gate to this cohort",
            code="gate-no-scores",
        )
    means = (float(np.mean([scores[case] for case in shared])) for scores in (model, naive))
    return Gate(baseline, params.reference, params.max_ratio, len(shared), *means)


def _mae(rows: Iterable[Row], source: str, method: str, reference: str) -> dict[str, float]:
    wanted = (source, method, reference, "mae_hu")
    return {
        row["case"]: value
        for row in rows
        if (row["source"], row["method"], row["reference"], row["metric"]) == wanted
        and (value := _number(row)) is not None
    }


def _number(row: Row) -> float | None:
    value = float(row["value"]) if row["value"] else math.nan
    return value if math.isfinite(value) else None
