"""A small matrix as SVG text: a number in each cell, darker for larger values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from synthct.tasks.figures.charts import text_at
from synthct.tasks.figures.numbers import digits_for, fixed

CELL_WIDTH, CELL_HEIGHT, LEFT, TOP = 112, 44, 150, 54


def matrix_chart(
    cells: Mapping[tuple[str, str], float],
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    row_label: str,
    column_label: str,
    alt: str,
) -> str:
    """``cells[row, column]``; the smallest of each column is bold, a missing cell is a dash."""
    if not cells:
        return ""
    width = LEFT + CELL_WIDTH * len(columns) + 8
    height = TOP + CELL_HEIGHT * len(rows) + 8
    digits = digits_for(list(cells.values()))
    low, high = min(cells.values()), max(cells.values())
    parts = [text_at(LEFT + CELL_WIDTH * len(columns) / 2, 16, column_label, "middle")]
    parts.append(text_at(LEFT - 12, TOP - 12, row_label, "end"))
    for number, name in enumerate(columns):
        parts.append(
            text_at(LEFT + CELL_WIDTH * (number + 0.5), TOP - 12, name, "middle", "strong")
        )
    for line, row in enumerate(rows):
        middle = TOP + CELL_HEIGHT * (line + 0.5) + 4
        parts.append(text_at(LEFT - 12, middle, row, "end", "strong"))
        for number, column in enumerate(columns):
            best = min((cells[r, column] for r in rows if (r, column) in cells), default=0.0)
            value = cells.get((row, column))
            share = 0.0 if value is None or high == low else (value - low) / (high - low)
            x, y = LEFT + CELL_WIDTH * number, TOP + CELL_HEIGHT * line
            parts.append(
                f'<rect class="cell" x="{x + 2}" y="{y + 2}" width="{CELL_WIDTH - 4}"'
                f' height="{CELL_HEIGHT - 4}" rx="4" fill-opacity="{0.06 + 0.34 * share:.2f}"/>'
            )
            text = "–" if value is None else fixed(value, digits)
            kind = "strong" if value is not None and value == best else ""
            parts.append(text_at(x + CELL_WIDTH / 2, middle, text, "middle", kind))
    return (
        f'<svg class="chart matrix" viewBox="0 0 {width} {height}" role="img"'
        f' aria-label="{escape(alt)}" style="max-width: {width}px">{"".join(parts)}</svg>'
    )
