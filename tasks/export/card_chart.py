"""The picture of the model card: the error of the model beside that of the naive baselines.

A release contains no images of patients, because it is distributed, and head slices can show a
face.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from synthct.tasks.figures.charts import Frame, axis_share, svg, text_at, ticks

METRIC = "mae_hu"
ROW = 34
"""Height of one method [SVG units]."""


def error_chart(scores: Sequence[Mapping[str, Any]], reference: str) -> str:
    """Mean absolute error of each method as a bar, with the deviation between cases.

    Parameters
    ----------
    scores
        Rows of the card: ``metric reference method mean sd n``; ``sd`` is None for one case.
    reference
        Only rows against this reference are shown.

    Returns
    -------
    str
        SVG text, best method first; empty where there is no such row.
    """
    rows = [row for row in scores if (row["metric"], row["reference"]) == (METRIC, reference)]
    rows.sort(key=lambda row: (float(row["mean"]), str(row["method"])))
    if not rows:
        return ""
    frame = Frame(520, 56 + ROW * len(rows), 118, 58, 6, 46)
    axis = ticks(0.0, max(float(row["mean"]) + float(row["sd"] or 0.0) for row in rows), 6)
    body = []
    for value in axis:
        x = frame.x(axis_share(value, axis))
        body.append(f'<path class="grid" d="M{x:.1f} {frame.y(1):.1f}V{frame.y(0):.1f}"/>')
        body.append(text_at(x, frame.y(0) + 17, f"{value:g}", "middle"))
    for number, row in enumerate(rows):
        body += _bar(frame, axis, row, frame.top + ROW * (number + 0.5))
    title = f"MAE against the {reference} CT [HU], line: SD of cases"
    body.append(text_at(frame.x(0.5), frame.height - 6, title, "middle"))
    said = ", ".join(f"{row['method']} {float(row['mean']):.1f}" for row in rows)
    return svg(frame, f"Mean absolute error [HU] of each method: {said}", body)


def _bar(frame: Frame, axis: Sequence[float], row: Mapping[str, Any], y: float) -> tuple[str, ...]:
    mean, sd = float(row["mean"]), float(row["sd"] or 0.0)
    own = row["method"] == "model"
    left, right = frame.x(0), frame.x(axis_share(mean, axis))
    low, high = (frame.x(axis_share(max(0.0, mean + side * sd), axis)) for side in (-1, 1))
    return (
        text_at(frame.left - 10, y + 5, str(row["method"]), "end", "own" if own else ""),
        f'<rect class="{"own" if own else "other"}" x="{left:.1f}" y="{y - 9:.1f}" '
        f'width="{right - left:.1f}" height="18"/>',
        f'<path class="spread" d="M{low:.1f} {y:.1f}H{high:.1f}"/>',
        text_at(frame.width - 4, y + 5, f"{mean:.1f}", "end", "own" if own else ""),
    )
