"""What the chain left out, and why."""

from __future__ import annotations

from synthct.tasks.figures.numbers import without_folders
from synthct.tasks.report.reading import Chain
from synthct.tasks.report.table import Cell, Column, Table


def exclusions(chain: Chain) -> Table | None:
    """Every unit that a stage excluded; nothing when all data were fit."""
    if not chain.excluded:
        return None
    columns = [Column("Stage"), Column("Unit"), Column("Rule"), Column("Found"), Column("Remedy")]
    rows = [
        [Cell(without_folders(row.get(name, ""))) for name in ("stage", "unit", "rule", "got",
                                                               "remedy")]
        for row in chain.excluded
    ]  # fmt: skip
    return Table("Excluded scans, cases and folds", columns, rows)
