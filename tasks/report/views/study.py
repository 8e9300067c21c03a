"""Results of a study: every arm against the plain recipe, on the same unseen patients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from synthct.tasks.figures.names import MEASURES, REFERENCES, source_name
from synthct.tasks.figures.numbers import fixed, plural
from synthct.tasks.report.reading import Row, Study
from synthct.tasks.report.table import Cell, Column, Table
from synthct.tasks.study.effects import Effect
from synthct.tasks.study.figure import forest


@dataclass(frozen=True)
class PairsEffects:
    """The arms on one set of training pairs: figure and table."""

    pairs: str
    figure: str
    table: Table


@dataclass(frozen=True)
class StudyView:
    """One study: name, design as a sentence, results by set of pairs."""

    name: str
    sentence: str
    parts: Sequence[PairsEffects]


def study(found: Study) -> StudyView:
    """From ``summary.json`` and ``effects.csv``."""
    summary = found.summary
    metric, _ = metric_of(found)
    against = REFERENCES.get(str(summary["reference"]), f"against {summary['reference']}")
    source = source_name(str(summary["source"]))
    sentence = (
        f"{source}: {len(summary['arms'])} {plural('way', len(summary['arms']))} of training, each "
        f"against the plain recipe on the same {summary['patients']} patients in "
        f"{summary['folds']} folds with {summary['seeds']} {plural('seed', summary['seeds'])}; "
        f"{metric} of unseen patients {against}, paired differences with 95 % bootstrap intervals "
        "over patients and training runs, "
        "Wilcoxon tests after Holm’s correction."
    )
    pairs = dict.fromkeys(row["pairs"] for row in found.effects)
    return StudyView(found.name, sentence, [_on(found, name) for name in pairs])


def metric_of(found: Study) -> tuple[str, str]:
    """Name and unit of the study's metric."""
    metric = str(found.summary.get("metric", "mae_hu"))
    return MEASURES.get(metric, (metric, ""))


def _on(found: Study, pairs: str) -> PairsEffects:
    name, unit = metric_of(found)
    rows = [_effect(row) for row in found.effects if row["pairs"] == pairs]
    rows.sort(key=lambda effect: effect.difference)
    figure = forest(rows, unit=unit, alt=f"{name} difference of every arm on {pairs} pairs")
    columns = [
        Column("Arm"), Column(name, unit, numeric=True), Column("Plain", unit, numeric=True),
        Column("Difference", unit, numeric=True), Column("95 % interval", unit, numeric=True),
        Column("Better in", numeric=True), Column("p, corrected", numeric=True),
    ]  # fmt: skip
    cells = [_cells(effect) for effect in rows]
    caption = f"Effect of every arm, trained on {pairs} pairs; best first where less is better"
    return PairsEffects(pairs, figure, Table(caption, columns, cells))


def _effect(row: Row) -> Effect:
    low, high, p, adjusted = (_number(row.get(n)) for n in ("low", "high", "p", "adjusted_p"))
    return Effect(
        row["arm"], row["pairs"], int(row["cases"]), float(row["mean"]), float(row["control"]),
        float(row["difference"]), low, high, p, adjusted, int(row["better"]),
        _number(row.get("floor")),
    )  # fmt: skip


def _cells(effect: Effect) -> list[Cell]:
    ends = "too few"
    if effect.low is not None and effect.high is not None:
        ends = f"{fixed(effect.low, 2)} to {fixed(effect.high, 2)}"
    p = "–" if effect.adjusted_p is None else f"{effect.adjusted_p:.2g}"
    return [
        Cell(effect.arm),
        *(Cell(fixed(v, 2)) for v in (effect.mean, effect.control, effect.difference)),
        Cell(ends),
        Cell(f"{effect.better} of {effect.cases}"),
        Cell(p),
    ]


def _number(text: str | None) -> float | None:
    return float(text) if text else None
