"""Registration of each pair: quality, verdict of the gate, pictures before and after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from synthct.tasks.figures.charts import Dots, dot_chart
from synthct.tasks.figures.names import source_name
from synthct.tasks.report.overlays import Overlays
from synthct.tasks.report.reading import Chain, Row
from synthct.tasks.report.table import VERDICTS, Table, from_rows

NOT_SHOWN = (
    "patient", "source", "synthetic", "preset", "sample_region_mm", "information_before",
    "information_after",
)  # fmt: skip
"""Columns of ``quality.csv`` that the table leaves out."""

TRUE_ERRORS = {
    "true_unregistered_mm": "unregistered",
    "true_rigid_mm": "after the rigid step",
    "true_registered_mm": "registered",
    "true_best_rigid_mm": "best possible rigid",
}
"""Errors against the known deformation of digital patients, in the order of the chart."""


@dataclass(frozen=True)
class RegisteredCase:
    """A case with its pictures."""

    case: str
    source: str
    region: str
    method: str
    verdict: str
    reason: str
    overlays: Overlays


@dataclass(frozen=True)
class Registration:
    """Counts of verdicts, the quality table and the pictures, least trusted first."""

    there: bool
    verdicts: Sequence[tuple[str, int]]
    chart: str
    legend: Sequence[tuple[str, int]]
    table: Table | None
    cases: Sequence[RegisteredCase]
    not_shown: int


def registration(chain: Chain, pictures: Mapping[str, Overlays]) -> Registration:
    """The registration section."""
    found = [str(case.get("verdict", "")) for case in chain.cases.values()]
    caption = "Quality of each registration; the gate’s verdict decides which cases are used"
    rows = chain.registration_rows
    colours = {region: number for number, region in enumerate(_regions(rows))}
    return Registration(
        there=chain.has("registration"),
        verdicts=[(v, found.count(v)) for v in VERDICTS if v in found],
        chart=_true_errors(rows, colours),
        legend=list(colours.items()),
        table=from_rows(caption, rows, leave_out=NOT_SHOWN, last=("reason",)) if rows else None,
        cases=[
            _case(name, chain.cases[name], pictures[name])
            for name in least_trusted_first(chain)
            if name in pictures
        ],
        not_shown=len(chain.cases) - len(pictures),
    )


def least_trusted_first(chain: Chain) -> list[str]:
    """Failed cases, then suspect ones, then the others; each by name."""

    def rank(name: str) -> tuple[int, str]:
        verdict = str(chain.cases[name].get("verdict", ""))
        order = VERDICTS[::-1]
        return (order.index(verdict) if verdict in order else len(order), name)

    return sorted(chain.cases, key=rank)


def _regions(rows: Sequence[Row]) -> list[str]:
    return sorted({row.get("region", "") for row in rows})


def _true_errors(rows: Sequence[Row], colours: Mapping[str, int]) -> str:
    """Mean error of each digital case against its known deformation, step by step."""
    dots = [
        Dots(
            name,
            [
                (row["case"], float(row[column]), colours[row.get("region", "")])
                for row in rows
                if row.get(column)
            ],
        )
        for column, name in TRUE_ERRORS.items()
    ]
    alt = "Mean registration error of each digital case against its known deformation, by step"
    return dot_chart(dots, x_label="mean error inside the body [mm]", alt=alt)


def _case(name: str, facts: Mapping[str, Any], overlays: Overlays) -> RegisteredCase:
    source = str(facts.get("source", ""))
    return RegisteredCase(
        case=name,
        source=source_name(source),
        region=str(facts.get("region", "")),
        method=str(facts.get("method", "")),
        verdict=str(facts.get("verdict", "")),
        reason=str(facts.get("reason") or ""),
        overlays=overlays,
    )
