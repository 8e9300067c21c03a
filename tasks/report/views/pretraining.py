"""What networks were pretrained on and for, and how the effective rank of their features went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from synthct.tasks.figures.charts import Line, line_chart
from synthct.tasks.figures.numbers import short
from synthct.tasks.report.reading import Chain
from synthct.tasks.report.table import Cell, Column, Table

SHOWN = {"objective": "objective", "effective_rank": "effective rank of the embeddings"}
"""Columns of the history that have a chart."""


@dataclass(frozen=True)
class Pretraining:
    """Charts (heading, SVG) and a table of the networks."""

    there: bool
    charts: Sequence[tuple[str, str]]
    networks: Table | None


def pretraining(chain: Chain) -> Pretraining:
    """The pretraining section."""
    charts = []
    for column, label in SHOWN.items():
        lines = [
            Line(name, [(float(r["step"]), float(r[column])) for r in rows if r.get(column)], i)
            for i, (name, rows) in enumerate(sorted(chain.feature_histories.items()))
        ]
        last = ", ".join(f"{e.name} {short(e.points[-1][1])}" for e in lines if e.points)
        alt = f"{label} over pretraining steps; last values {last or 'absent'}"
        chart = line_chart(lines, x_label="pretraining step", y_label=label, alt=alt)
        if chart:
            charts.append((label.capitalize(), chart))
    return Pretraining(
        there=chain.has("pretraining"),
        charts=charts,
        networks=_networks(chain.features) if chain.features else None,
    )


def _networks(features: Mapping[str, Mapping[str, Any]]) -> Table:
    columns = [
        Column("Network"), Column("Objectives"), Column("Patients", numeric=True),
        Column("Scans", numeric=True), Column("Features", numeric=True),
        Column("Effective rank", numeric=True), Column("SHA-256"),
    ]  # fmt: skip
    rows = [
        [
            Cell(name),
            Cell("; ".join(f"{one['name']} x {one['weight']:g}" for one in facts["objectives"])),
            Cell(str(len(facts["patients"]))),
            Cell(str(len(facts["scans"]))),
            Cell(str(sum(facts["channels"]))),
            Cell(f"{facts['effective_rank']:.1f} of {facts['dimensions']}"),
            Cell(facts["sha256"]),
        ]
        for name, facts in sorted(features.items())
    ]
    return Table("The pretrained networks", columns, rows)
