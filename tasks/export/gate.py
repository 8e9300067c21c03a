"""The release gate: enough unseen cases, a gain over the best baseline, and few suspect cases."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
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
    """Measurements of the gate, and every condition that does not hold.

    Parameters
    ----------
    gain
        Gain over the best baseline, as in ``evaluation/summary.json``; empty if nothing was scored
        for both.
    checked, suspect
        Unseen cases that the checks examined, and how many of them fail one that the gate counts.
    by_check
        Number of cases that fail each check, also those that the gate does not count.
    limits
        The conditions.
    failures
        ``(code, sentence, remedy)`` of each condition that does not hold.
    """

    gain: Mapping[str, Any]
    checked: int
    suspect: int
    by_check: Mapping[str, int]
    limits: GateParams
    failures: tuple[tuple[str, str, str], ...] = field(default=())

    def as_json(self) -> dict[str, Any]:
        """For the card."""
        return {
            **self.gain,
            "reference": self.limits.reference,
            "checked_cases": self.checked,
            "suspect_cases": self.suspect,
            "suspect_by_check": dict(sorted(self.by_check.items())),
            "limits": {
                "max_ratio": self.limits.max_ratio,
                "min_cases": self.limits.min_cases,
                "max_suspect_share": self.limits.max_suspect_share,
                "checks": list(self.limits.checks),
            },
            "passed": not self.failures,
            "failures": [sentence for _, sentence, _ in self.failures],
        }

    def refusal(self, source: str) -> SynthctError | None:
        """Why the release is refused; None if every condition holds."""
        if not self.failures:
            return None
        return SynthctError(
            "; ".join(sentence for _, sentence, _ in self.failures),
            rule=f"a release needs at least {self.limits.min_cases} unseen cases, a 95 % interval "
            f"of MAE(model)/MAE(best baseline) below {self.limits.max_ratio:g}, and at most "
            f"{100 * self.limits.max_suspect_share:g} % suspect cases",
            where=source,
            remedy="; ".join(dict.fromkeys(remedy for _, _, remedy in self.failures)),
            code=self.failures[0][0],
        )


def apply_gate(summary: Mapping[str, Any], source: str, params: GateParams) -> Gate:
    """Judge one source by ``gain`` and ``suspect`` of ``evaluation/summary.json``."""
    gain = summary.get("gain", {}).get(source, {}).get(params.reference, {})
    checks = summary.get("suspect", {}).get(source, {"cases": 0, "failed": {}})
    failed = checks["failed"].values()
    suspect = sum(1 for names in failed if set(names) & set(params.checks))
    by_check = Counter(name for names in failed for name in names)
    failures = [
        *_gain_failures(gain, params),
        *_check_failures(int(checks["cases"]), suspect, by_check, params),
    ]
    return Gate(gain, int(checks["cases"]), suspect, by_check, params, tuple(failures))


def _gain_failures(gain: Mapping[str, Any], params: GateParams) -> list[tuple[str, str, str]]:
    if not gain:
        problem = (
            f"no unseen case is scored for the model and a baseline against the {params.reference} "
            "CT"
        )
        return [("gate-no-scores", problem, "see evaluation/excluded.json for the reason")]
    failures = []
    cases = int(gain["cases"])
    if cases < params.min_cases:
        problem = f"there are only {cases} unseen cases"
        failures.append(("gate-cases", problem, "add patients"))
    if gain["high"] is None:
        problem = f"{cases} cases are too few for an interval of the gain"
        failures.append(("gate-cases", problem, "add patients"))
    elif gain["high"] >= params.max_ratio:
        problem = (
            f"the model's mean MAE is {gain['model_mae_hu']:.1f} HU, that of the best baseline "
            f"({gain['baseline']}) {gain['baseline_mae_hu']:.1f} HU: the interval of their ratio, "
            f"{gain['low']:.2f} to {gain['high']:.2f}, reaches {params.max_ratio:g}"
        )
        failures.append(("gate-score", problem, "train longer or on more patients"))
    return failures


def _check_failures(
    cases: int, suspect: int, by_check: Mapping[str, int], params: GateParams
) -> list[tuple[str, str, str]]:
    if suspect <= params.max_suspect_share * cases:
        return []
    found = ", ".join(
        f"{name.replace('_', ' ')} {count}"
        for name, count in sorted(by_check.items())
        if name in params.checks
    )
    problem = f"{suspect} of {cases} unseen cases are suspect ({found})"
    return [("gate-checks", problem, "look at these cases in the report")]


def _number(row: Row) -> float | None:
    value = float(row["value"]) if row["value"] else math.nan
    return value if math.isfinite(value) else None
