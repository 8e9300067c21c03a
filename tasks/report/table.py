"""A table as a value, filled by the views and rendered by the template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from synthct.tasks.figures.numbers import digits_for, fixed, label_and_unit, without_folders


@dataclass(frozen=True)
class Column:
    """One column: its heading, its unit and whether its cells are numbers."""

    label: str
    unit: str = ""
    numeric: bool = False


@dataclass(frozen=True)
class Cell:
    """One cell of a table.

    ``kind`` names its look: ``best pass suspect fail head name hash long``.
    """

    text: str
    kind: str = ""


@dataclass(frozen=True)
class Table:
    """Caption, columns, rows of cells; ``groups`` are (label, span) above the columns."""

    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    groups: Sequence[tuple[str, int]] = field(default_factory=tuple)


VERDICTS = ("pass", "suspect", "fail")

LONG = 24
"""Length above which a cell is a sentence and gets a wide column [characters]."""


def from_rows(
    caption: str,
    rows: Sequence[Mapping[str, str]],
    *,
    leave_out: Sequence[str] = (),
    last: Sequence[str] = (),
) -> Table:
    """A table of the rows of a CSV file: all columns, numbers with equal decimals.

    Columns of ``leave_out``, and columns without a value in any row, are not shown; those of
    ``last`` are moved to the end.
    """
    names = list(dict.fromkeys(name for row in rows for name in row))
    shown = [n for n in names if n not in leave_out and any(row.get(n) for row in rows)]
    shown.sort(key=lambda name: name in last)
    columns, cells = [], []
    for name in shown:
        column, texts = _column(name, [row.get(name) or "" for row in rows])
        columns.append(column)
        cells.append(texts)
    return Table(caption, columns, [list(row) for row in zip(*cells, strict=True)])


def _column(name: str, texts: Sequence[str]) -> tuple[Column, list[Cell]]:
    label, unit = label_and_unit(name)
    values = [_number(text) for text in texts]
    if any(value is None and text for value, text in zip(values, texts, strict=True)):
        return Column(label, unit), [_text(text) for text in texts]
    digits = digits_for([value for value in values if value is not None])
    cells = [Cell("" if value is None else fixed(value, digits)) for value in values]
    return Column(label, unit, numeric=True), cells


def _text(text: str) -> Cell:
    kind = text if text in VERDICTS else "long" if len(text) > LONG else "name"
    return Cell(without_folders(text), kind)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
