"""Ranking of the methods of one cohort over metrics, on the cases that all methods have."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from synthct.data.tables import six_digits
from synthct.tasks.evaluation.statistics.ranking import rank, rank_stability
from synthct.tasks.pipeline.randomness import generator

RANKED = ("mae_hu", "psnr_db", "ms_ssim")
"""Image metrics that are ranked, as in the challenge; with Dice if there are structures."""

NOT_RANKED = ("registered", "ceiling")
"""Methods that are references and do not take part in the ranking."""

DRAWS = 500

Row = Mapping[str, Any]


def rankings(rows: Sequence[Row], source: str, seed: int) -> dict[str, Any]:
    """``{reference: {n, metrics, corrected, as_published, first_share}}``.

    Empty for fewer than two methods, or if no case has scores of all of them.
    """
    result: dict[str, Any] = {}
    for reference in sorted(
        {row["reference"] for row in rows if row["source"] == source} - {"source"}
    ):
        lines = [r for r in rows if r["source"] == source and r["reference"] == reference]
        table, cases = _table(lines)
        metrics = [m for m in (*RANKED, "dice") if all(m in table[method] for method in table)]
        if len(table) < 2 or not cases or not metrics:
            continue
        means = {
            method: {m: float(np.mean(found[m])) for m in metrics}
            for method, found in table.items()
        }
        rng = generator(seed, "evaluation", source, reference, "ranking")
        result[reference] = {
            "n": len(cases),
            "metrics": metrics,
            "corrected": _rounded(rank(means, metrics)),
            "as_published": _rounded(rank(means, metrics, "as_published")),
            "first_share": _rounded(rank_stability(table, metrics, rng, draws=DRAWS)),
        }
    return result


def _table(lines: Sequence[Row]) -> tuple[dict[str, dict[str, list[float]]], list[str]]:
    """Method to metric to the scores of the shared cases; ``dice`` is the mean over structures."""
    found: dict[str, dict[str, dict[str, list[float]]]] = defaultdict(
        lambda: defaultdict(lambda: defaultdict(list))
    )
    for row in lines:
        metric = "dice" if row["metric"].startswith("dice_") else row["metric"]
        if row["method"] not in NOT_RANKED and metric in (*RANKED, "dice"):
            found[row["method"]][metric][row["case"]].append(row["value"])
    everyone = [set(cases) for metrics in found.values() for cases in metrics.values()]
    shared = sorted(set.intersection(*everyone)) if everyone else []
    table = {
        method: {
            m: [float(np.mean(cases[case])) for case in shared] for m, cases in metrics.items()
        }
        for method, metrics in found.items()
    }
    return table, shared


def _rounded(values: Mapping[str, float]) -> dict[str, float]:
    return {name: six_digits(value) for name, value in values.items()}
