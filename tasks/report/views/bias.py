"""Registration bias from a study: networks trained on one alignment and scored on another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from synthct.tasks.figures.matrix_chart import matrix_chart
from synthct.tasks.figures.numbers import fixed
from synthct.tasks.report.reading import Row, Study
from synthct.tasks.report.views.study import metric_of


@dataclass(frozen=True)
class Bias:
    """The figure, its sentences, and the name of the study's metric."""

    study: str
    metric: str
    chart: str
    sentences: Sequence[str]


def bias(study: Study) -> Bias:
    """From the study's ``matrix.csv`` and ``bias.csv``."""
    rows = study.matrix
    cells = {(row["trained_on"], row["scored_on"]): float(row["mean"]) for row in rows}
    trained = list(dict.fromkeys(row["trained_on"] for row in rows))
    scored = list(dict.fromkeys(row["scored_on"] for row in rows))
    name, unit = metric_of(study)
    chart = matrix_chart(
        cells, trained, scored, row_label="trained on",
        column_label=f"{name}{f' [{unit}]' if unit else ''} scored on",
        alt=f"{name} by the alignment trained on and the alignment scored on",
    )  # fmt: skip
    less = name == "MAE"
    sentences = [_sentence(row, unit, less_is_better=less) for row in study.bias]
    return Bias(study.name, name, chart, sentences)


def _sentence(row: Row, unit: str, *, less_is_better: bool) -> str:
    difference = float(row["difference"])
    ends = (
        f" (95 % interval {fixed(float(row['low']), 1)} to {fixed(float(row['high']), 1)})"
        if row.get("low") and row.get("high")
        else ""
    )
    favours = "favours" if (difference < 0) == less_is_better else "does not favour"
    return (
        f"Under {row['scored_on']}, the model trained on it differs from the one trained on "
        f"{row['other']} by {fixed(difference, 1)} {unit}{ends}: the reference {favours} the "
        "model that was trained on it."
    )
