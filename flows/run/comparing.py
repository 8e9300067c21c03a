"""Two workspaces side by side: scores of the same cases with paired intervals, changed params."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from synthct.data.errors import UsageError
from synthct.data.tables import floats_to_six_digits, read_table
from synthct.flows.run.summary import releases
from synthct.flows.workspace.project import Project
from synthct.tasks.pipeline.artefacts import SCORES

COMPARED = ("mae_hu", "me_hu", "psnr_db", "ms_ssim")
"""Metrics of the model that are compared."""

Cases = Mapping[tuple[str, str, str], Mapping[str, float]]
"""(source, reference, metric) to case to the model's score."""


def compare(first: Project, second: Project) -> dict[str, Any]:
    """Scores, releases and params of two workspaces.

    ``scores`` has a row for each source, reference and metric that both have on common cases:
    the means over these cases, and their difference (second less first) with its 95 % interval
    over cases drawn together (:func:`paired_bootstrap`).

    Raises
    ------
    UsageError
        ``not-scored``, ``nothing-in-common``.
    """
    from synthct.tasks.chain.explain import changed
    from synthct.tasks.chain.params import load_params

    tables = [_scores(project) for project in (first, second)]
    rows = _rows(*tables)
    if not rows:
        raise UsageError(
            "the two workspaces have no scored case in common",
            rule="scores are compared on the same cases",
            where=f"{first.name} and {second.name}",
            remedy="compare workspaces of one data set",
            code="nothing-in-common",
        )
    here, there = (
        load_params(p.root / p.workspace / "params.yaml").as_json() for p in (first, second)
    )
    return {
        "first": first.name,
        "second": second.name,
        "scores": rows,
        "releases": {project.name: releases(project) for project in (first, second)},
        "params": {key: list(values) for key, values in changed(here, there)},
    }


def _scores(project: Project) -> Cases:
    target = project.stage("evaluation")
    file = project.root / target.out / SCORES if target else Path("absent")
    if not file.is_file():
        raise UsageError(
            "there are no scores",
            rule="only workspaces with a finished evaluation are compared",
            where=project.name,
            remedy="synthct run" + ("" if project.name == "demo" else f" --preset {project.name}"),
            code="not-scored",
        )
    found: dict[tuple[str, str, str], dict[str, float]] = defaultdict(dict)
    for row in read_table(file):
        if row["method"] == "model" and row["metric"] in COMPARED and row["value"]:
            key = (row["source"], row["reference"], row["metric"])
            found[key][row["case"]] = float(row["value"])
    return found


def _rows(first: Cases, second: Cases) -> list[dict[str, Any]]:
    from synthct.tasks.evaluation.statistics.paired import difference_of_means, paired_bootstrap

    rows = []
    for source, reference, metric in sorted(set(first) & set(second)):
        key = (source, reference, metric)
        shared = sorted(set(first[key]) & set(second[key]))
        if not shared:
            continue
        one, other = (np.array([table[key][case] for case in shared]) for table in (first, second))
        interval = paired_bootstrap(other, one, difference_of_means, np.random.default_rng(0))
        numbers = {
            "first": float(one.mean()), "second": float(other.mean()),
            "difference": interval.value, "low": interval.low, "high": interval.high,
        }  # fmt: skip
        rows.append(
            {
                "source": source, "reference": reference, "metric": metric, "cases": len(shared),
                **{k: None if v is None else floats_to_six_digits(v) for k, v in numbers.items()},
            }
        )  # fmt: skip
    return rows


def case_errors(first: Project, second: Project) -> dict[str, dict[str, tuple[float, float]]]:
    """The models' MAE [HU] (first, second) of each case of each source that both have scored."""
    one, other = (_scores(project) for project in (first, second))
    found: dict[str, dict[str, tuple[float, float]]] = {}
    for source, reference, metric in sorted(set(one) & set(other)):
        key = (source, reference, metric)
        if (reference, metric) == ("registered", "mae_hu"):
            cases = sorted(set(one[key]) & set(other[key]))
            found[source] = {case: (one[key][case], other[key][case]) for case in cases}
    return found
