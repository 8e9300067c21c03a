"""Learning curves of each network, and its training, validation and test cases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from synthct.tasks.figures.charts import Line, line_chart
from synthct.tasks.figures.names import source_name
from synthct.tasks.figures.numbers import label_and_unit, short
from synthct.tasks.report.reading import Chain, Row
from synthct.tasks.report.table import Cell, Column, Table

RATE = ("learning_rate", "lr")
TOTAL = ("loss", "total", "total_loss")
NOT_A_LOSS = {"step", "epoch", *RATE}


@dataclass(frozen=True)
class SourceTraining:
    """Curves of one source: charts (heading, SVG), and a legend (name, colour)."""

    source: str
    charts: Sequence[tuple[str, str]]
    legend: Sequence[tuple[str, int]]


@dataclass(frozen=True)
class Training:
    """The curves by source, the models and the folds."""

    there: bool
    sources: Sequence[SourceTraining]
    models: Table | None
    folds: Table | None


def training(chain: Chain) -> Training:
    """The training section."""
    sources = sorted({name.rpartition("_fold")[0] for name in chain.histories}, reverse=True)
    return Training(
        there=chain.has("training"),
        sources=[_source(chain, source) for source in sources],
        models=_models(chain.models) if chain.models else None,
        folds=_folds(chain.folds) if chain.folds else None,
    )


def _source(chain: Chain, source: str) -> SourceTraining:
    runs = {n: rows for n, rows in chain.histories.items() if n.rpartition("_fold")[0] == source}
    legend = [(f"fold {name.rpartition('_fold')[2]}", i) for i, name in enumerate(sorted(runs))]
    charts = []
    for column in _shown(next(iter(runs.values()), ())):
        label, unit = label_and_unit(column)
        lines = [_line(runs[name], name, column, i) for i, name in enumerate(sorted(runs))]
        axis = f"{label} [{unit}]" if unit else label
        name = source_name(source)
        alt = f"{label} of the {name} networks over training steps; {_end(lines)}"
        chart = line_chart(lines, x_label="training step", y_label=axis, alt=alt)
        if chart:
            charts.append((label, chart))
    return SourceTraining(source_name(source), charts, legend)


def _shown(rows: Sequence[Row]) -> list[str]:
    """Columns shown: the training loss, then the metric of the validation patients."""
    names = list(rows[0]) if rows else []
    validation = [name for name in names if name.startswith("validation") or name == "val_mae_hu"]
    terms = [name for name in names if name not in NOT_A_LOSS and name not in validation]
    total = [name for name in terms if name in TOTAL]
    return [*(total[:1] or terms[:1]), *validation[:1]]


def _line(rows: Sequence[Row], name: str, column: str, colour: int) -> Line:
    points = [(float(r["step"]), float(r[column])) for r in rows if r.get(column)]
    return Line(f"{name}: {column}", points, colour)


def _end(lines: Sequence[Line]) -> str:
    last = [line.points[-1][1] for line in lines if line.points]
    return f"last values {', '.join(short(value) for value in last)}" if last else "no values"


def _models(models: Mapping[str, Mapping[str, Any]]) -> Table:
    columns = [
        Column("Model"), Column("Network"), Column("Regularizers"),
        Column("Training cases", numeric=True), Column("Validation cases", numeric=True),
        Column("Test cases", numeric=True), Column("Validation MAE", "HU", numeric=True),
    ]  # fmt: skip
    rows = [
        [
            Cell(name),
            Cell(_options(model.get("network") or {})),
            Cell(_regularizers(model)),
            *[Cell(str(len(model.get(f"{part}_cases") or []))) for part in _PARTS],
            Cell(_mae(model.get("validation_mae_hu"))),
        ]
        for name, model in sorted(models.items())
    ]
    return Table("The trained networks", columns, rows)


_PARTS = ("train", "validation", "test")


def _regularizers(model: Mapping[str, Any]) -> str:
    listed = [_options(entry) for entry in model.get("regularizers") or []]
    learned = model.get("learned_strengths") or {}
    if learned:
        ends = ", ".join(f"{label} {value:.3g}" for label, value in sorted(learned.items()))
        listed.append(f"learned: {ends}")
    return "; ".join(listed) or "none"


def _mae(value: Any) -> str:
    return "" if value is None else f"{float(value):.1f}"


def _options(value: Mapping[str, Any]) -> str:
    rest = ", ".join(f"{k} {_plain(v)}" for k, v in sorted(value.items()) if k != "name")
    return f"{value.get('name', '')} ({rest})" if rest else str(value.get("name", ""))


def _plain(value: Any) -> str:
    return " ".join(_plain(v) for v in value) if isinstance(value, list) else str(value)


def _folds(folds: Mapping[str, Any]) -> Table:
    columns = [Column("Source"), Column("Fold", numeric=True), Column("Training"),
               Column("Validation"), Column("Test")]  # fmt: skip
    rows = [
        [
            Cell(source_name(source)),
            Cell(str(number)),
            *[Cell(_who(fold, part)) for part in _PARTS],
        ]
        for source in sorted(folds, reverse=True)
        for number, fold in enumerate(folds[source])
    ]
    return Table("Cases of each fold, split by patient", columns, rows)


def _who(fold: Mapping[str, Any], part: str) -> str:
    if part == "validation" and fold.get("held_out") == "slab":
        return "upper slices of the training cases: too few patients for a split by patient"
    return ", ".join(sorted(fold.get(part) or [])) or "–"
