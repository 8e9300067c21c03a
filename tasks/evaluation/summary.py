"""Table and means of the scores of single cases; every mean comes with its number of cases."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from synthct.data.tables import floats_to_six_digits
from synthct.tasks.evaluation.statistics.gain import BASELINES, gain_over_best
from synthct.tasks.evaluation.statistics.paired import (
    holm,
    paired_bootstrap,
    ratio_of_means,
    wilcoxon_p,
)
from synthct.tasks.evaluation.statistics.rankings import rankings
from synthct.tasks.pipeline.randomness import generator

COLUMNS = ("case", "patient", "source", "region", "fold", "method", "reference", "metric", "value")
"""Columns of ``scores.csv``: one score per line."""

RATIOS = {
    "mr": ("constant", "lookup"),
    "cbct": ("constant", "lookup", "linear", "two_point", "raw"),
}
"""Baselines that the model's MAE is divided by."""

DETAIL = ("mae_hu_", "me_hu_", "structure_", "volume_")
"""Metrics by band and structure: listed in ``scores.csv`` only, too many for the summary."""

Document = Mapping[str, Any]
"""``scores.json`` of one case."""

Row = Mapping[str, Any]


def long_rows(documents: Sequence[Document]) -> list[dict[str, Any]]:
    """Rows of ``scores.csv``; a score without a value has no row."""
    facts = ("case", "patient", "source", "region", "fold")
    return [
        {**{name: document[name] for name in facts}, **score}
        for document in documents
        for score in document["scores"]
        if score["value"] is not None
    ]


def floor_rows(
    documents: Sequence[Document], floor: Mapping[str, Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Rows of ``scores.csv`` with the registration floor of each case [HU]."""
    facts = ("case", "patient", "source", "region", "fold")
    kind = {"method": "registered", "reference": "registered", "metric": "floor_mae_hu"}
    return [
        {**{name: document[name] for name in facts}, **kind, "value": measured["floor_mae_hu"]}
        for document in documents
        if (measured := floor.get(document["case"])) and measured["floor_mae_hu"] is not None
    ]


def summarise(
    documents: Sequence[Document], *, profile: Mapping[str, Any], seed: int, draws: int
) -> dict[str, Any]:
    """``summary.json``: means with their n by source, region and fold, ratios, gain, checks, bias.

    ``gain`` is that over the best baseline by source and reference, and ``suspect`` names the
    checks that each case fails. The release gate, the report and the terminal all read these.
    """
    rows = long_rows(documents)
    sources = sorted({row["source"] for row in rows})
    return {
        "profile": dict(profile),
        "cases": {t: len({r["case"] for r in rows if r["source"] == t}) for t in sources},
        "mean": {
            source: {
                "all": _means(r for r in rows if r["source"] == source),
                **_grouped([r for r in rows if r["source"] == source], "region", ""),
            }
            for source in sources
        },
        "fold": {
            source: _grouped([r for r in rows if r["source"] == source], "fold", "fold")
            for source in sources
        },
        "ratio": {source: _ratios(rows, source, seed, draws) for source in sources},
        "gain": {source: _gains(rows, source, seed, draws) for source in sources},
        "suspect": {
            source: _suspect([d for d in documents if d["source"] == source]) for source in sources
        },
        "ranking": {source: rankings(rows, source, seed) for source in sources},
        "registration_bias": {
            source: _bias([d for d in documents if d["source"] == source]) for source in sources
        },
        "not_scored_against_registered": {
            document["case"]: document["not_scored_against_registered"]
            for document in documents
            if document["not_scored_against_registered"]
        },
    }


def _grouped(rows: Sequence[Row], column: str, prefix: str) -> dict[str, Any]:
    names = sorted({row[column] for row in rows})
    return {f"{prefix}{name}": _means(r for r in rows if r[column] == name) for name in names}


def _means(rows: Iterable[Row]) -> dict[str, Any]:
    """``{reference: {method: {metric: mean, "n": cases}}}``.

    A metric that fewer cases have (a structure that few patients have) has its own ``n_METRIC``.
    """
    values: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for row in rows:
        if not row["metric"].startswith(DETAIL):
            values[row["reference"], row["method"], row["metric"]].append(row["value"])
    most: dict[tuple[str, str], int] = defaultdict(int)
    for (reference, method, _), found in values.items():
        most[reference, method] = max(most[reference, method], len(found))
    means: dict[str, dict[str, dict[str, float]]] = {}
    for (reference, method, metric), found in sorted(values.items()):
        entry = means.setdefault(reference, {}).setdefault(method, {"n": most[reference, method]})
        entry[metric] = _rounded(float(np.mean(found)))
        if len(found) < entry["n"]:
            entry[f"n_{metric}"] = len(found)
    return means


def _ratios(rows: Sequence[Row], source: str, seed: int, draws: int) -> dict[str, Any]:
    """Mean MAE of the model over that of each baseline, on the cases that have both.

    ``{reference: {"model_over_BASELINE": {value, n, low, high, p_holm}}}``; interval and p (of
    paired differences, corrected over all baselines of the reference) only for enough cases.
    """
    ratios: dict[str, dict[str, Any]] = {}
    for reference in sorted({row["reference"] for row in rows if row["source"] == source}):
        model = _mae(rows, source, reference, "model")
        entries: dict[str, dict[str, float]] = {}
        p_values: dict[str, float] = {}
        for baseline in RATIOS[source]:
            naive = _mae(rows, source, reference, baseline)
            shared = sorted(set(model) & set(naive))
            if not shared or not any(naive[case] for case in shared):
                continue
            first, second = (np.array([of[case] for case in shared]) for of in (model, naive))
            rng = generator(seed, "evaluation", source, reference, baseline)
            name = f"model_over_{baseline}"
            interval = paired_bootstrap(first, second, ratio_of_means, rng, draws=draws)
            entries[name] = interval.as_json()
            p = wilcoxon_p(first, second)
            if p is not None:
                p_values[name] = p
        for name, p in holm(p_values).items():
            entries[name]["p_holm"] = p
        ratios[reference] = {
            name: {key: _rounded(value) for key, value in entry.items()}
            for name, entry in entries.items()
        }
    return ratios


def _gains(rows: Sequence[Row], source: str, seed: int, draws: int) -> dict[str, Any]:
    """``{reference: gain over the best baseline}`` (see ``statistics/gain.py``)."""
    gains = {}
    for reference in sorted({row["reference"] for row in rows if row["source"] == source}):
        scores = {m: _mae(rows, source, reference, m) for m in ("model", *BASELINES)}
        rng = generator(seed, "evaluation", source, reference, "gain")
        if (gain := gain_over_best(scores, rng, draws=draws)) is not None:
            gains[reference] = gain.as_json()
    return gains


def _suspect(documents: Sequence[Document]) -> dict[str, Any]:
    """Number of checked cases, and the failed checks of each case that fails any."""
    failed = {
        document["case"]: [found["check"] for found in document["checks"] if found["suspect"]]
        for document in documents
    }
    return {
        "cases": len(failed),
        "failed": {case: checks for case, checks in sorted(failed.items()) if checks},
    }


def _mae(rows: Sequence[Row], source: str, reference: str, method: str) -> dict[str, float]:
    wanted = (source, reference, method, "mae_hu")
    return {
        row["case"]: row["value"]
        for row in rows
        if (row["source"], row["reference"], row["method"], row["metric"]) == wanted
    }


def _bias(documents: Sequence[Document]) -> dict[str, Any]:
    """Means over digital patients of score against the moved CT minus score against the truth."""
    known = [d["registration_bias"] for d in documents if d["registration_bias"]]
    if not known:
        return {}
    values: dict[str, dict[str, list[float]]] = {}
    for one in known:
        for metric, methods in one["registered_less_truth"].items():
            for method, value in methods.items():
                values.setdefault(metric, {}).setdefault(method, []).append(value)
    return {
        "n": len(known),
        "reference_mae_hu": _rounded(float(np.mean([one["reference_mae_hu"] for one in known]))),
        "registered_less_truth": {
            metric: {method: _rounded(float(np.mean(v))) for method, v in methods.items()}
            for metric, methods in values.items()
        },
    }


def _rounded(value: float) -> float:
    return floats_to_six_digits(value)
