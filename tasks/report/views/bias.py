"""Trained on one alignment, scored on another: the study's matrix, where there is a study."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tasks.report.matrix_chart import matrix_chart
from tasks.report.numbers import fixed
from tasks.report.reading import Chain, Row


@dataclass(frozen=True)
class Bias:
    """The figure and its sentences."""

    chart: str
    sentences: Sequence[str]


def bias(chain: Chain) -> Bias:
    """From the study's ``matrix.csv`` and ``bias.csv``."""
    rows = chain.study.get("matrix") or ()
    cells = {(row["trained_on"], row["scored_on"]): float(row["mean"]) for row in rows}
    trained = list(dict.fromkeys(row["trained_on"] for row in rows))
    scored = list(dict.fromkeys(row["scored_on"] for row in rows))
    chart = matrix_chart(
        cells, trained, scored, row_label="trained on", column_label="MAE [HU] scored on",
        alt="Mean absolute error by the alignment trained on and the alignment scored on",
    )  # fmt: skip
    return Bias(chart, [_told(row) for row in chain.study.get("bias") or ()])


def _told(row: Row) -> str:
    difference = float(row["difference"])
    ends = (
        f" (95 % interval {fixed(float(row['low']), 1)} to {fixed(float(row['high']), 1)})"
        if row.get("low") and row.get("high")
        else ""
    )
    kinder = "kinder" if difference < 0 else "harsher"
    return (
        f"Under {row['scored_on']}, the model trained on it differs from the one trained on "
        f"{row['other']} by {fixed(difference, 1)} HU{ends}: the reference is {kinder} to its own."
    )
