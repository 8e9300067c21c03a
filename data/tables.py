"""CSV tables: fixed columns, six significant digits, reproducible bytes, atomic writes."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from synthct.data.files import write_whole

T = TypeVar("T")


def six_digits(value: float) -> float:
    """The number to six significant digits."""
    return float(f"{value:.6g}")


def floats_to_six_digits(value: T) -> T:
    """A float to six significant digits; anything else as it is."""
    return six_digits(value) if isinstance(value, float) else value  # type: ignore[return-value]


def six_digits_text(value: object) -> str:
    """A value as text in a table: floats to six significant digits."""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows with the given columns; floats keep six significant digits."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(columns), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: _spelled(row.get(name, "")) for name in columns})
    write_whole(path, text.getvalue())


def read_table(path: Path) -> list[dict[str, str]]:
    """Rows of a CSV file as strings by column."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def _spelled(value: Any) -> str:
    if value is None:
        return ""
    return six_digits_text(value)
