"""Pictures and tables of ``docs/benchmarks/study.md``, from finished studies.

    python -m docs.make_study [--from FOLDER]

Reads ``workspaces/NAME`` below FOLDER (default: this repository) for each block ``<!-- NAME -->``
of the page, as ``synthct study --grid presets/NAME.yaml`` leaves it; measures nothing. A block
whose study is not there stays as it is.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from synthct.data.files import write_whole
from synthct.data.tables import read_table
from synthct.tasks.figures.matrix_chart import matrix_chart
from synthct.tasks.figures.page import FOLDER
from synthct.tasks.study.effects import Effect, least_possible_p
from synthct.tasks.study.figure import forest, scatter
from synthct.tasks.study.page import kept, promised
from synthct.tasks.study.params import is_replicate

PAGE = Path(__file__).with_name("benchmarks") / "study.md"
PICTURES = PAGE.parents[1] / "pictures" / "study"
BLOCK = re.compile(r"(<!-- (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)

MANY = 8
"""Arms from which a picture shows more than the table."""
LEVEL = 0.05

FLOOR_UNKNOWN = (
    "Floor: not measured in this study. The intervals cover the choice of patients only."
)

Row = Mapping[str, str]


def main() -> int:
    """Write pictures and tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--from", dest="root", type=Path, default=PAGE.parents[2])
    root = parser.parse_args().root / "workspaces"

    def filled(block: re.Match[str]) -> str:
        out = root / block[2] / "artefacts" / "study"
        if not (out / "summary.json").is_file():
            return block[0]
        table = _bias(out) if block[2] == "bias" else _arms(block[2], out)
        return f"{block[1]}\n{table}\n\n{block[3]}"

    write_whole(PAGE, BLOCK.sub(filled, PAGE.read_text()))
    return 0


def _arms(study: str, out: Path) -> str:
    """Effects of each set of pairs: pictures where there are many arms, and the table."""
    effects, prices = read_effects(out)
    summary = json.loads((out / "summary.json").read_text())
    seeds = "1 seed" if summary["seeds"] == 1 else f"{summary['seeds']} seeds"
    parts = [
        f"{len(summary['arms'])} arms, {summary['patients']} digital patients in "
        f"{summary['folds']} folds, {seeds}, scored against the {summary['reference']}."
    ]
    for pairs in summary["pairs"]:
        rows = sorted((e for e in effects if e.pairs == pairs), key=lambda e: e.difference)
        tested = sum(not is_replicate(e.arm) for e in rows)
        least = least_possible_p(min(e.cases for e in rows), tested)
        parts += [
            f"### {pairs} pairs: none {rows[0].control:.1f} HU",
            f"Smallest corrected p that could be found: {least:.2g}"
            + (": underpowered." if least >= LEVEL else "."),
            FLOOR_UNKNOWN if rows[0].floor is None else f"Floor: {rows[0].floor:.2f} HU.",
        ]
        if len(rows) >= MANY:
            name, alt = f"{study}_effects_{pairs}", f"Effects on {pairs} pairs"
            _picture(name, forest(rows, unit="HU", alt=alt))
            parts.append(f"![{alt}](../pictures/study/{name}.svg)")
            name, alt = f"{study}_cost_{pairs}", f"Effect against cost on {pairs} pairs"
            _picture(name, scatter(rows, prices, unit="HU", alt=alt))
            parts.append(f"![{alt}](../pictures/study/{name}.svg)")
        parts.append(_table(rows, prices))
        if table := _promises(out, summary, pairs):
            parts.append(table)
    return "\n\n".join(parts)


def _table(rows: Sequence[Effect], prices: Mapping[str, float]) -> str:
    lines = [
        "| arm | difference [HU] | 95 % interval | better in | p, corrected | arithmetic |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        ends = "" if row.low is None else f"{row.low:+.2f} to {row.high:+.2f}"
        p = "" if row.adjusted_p is None else f"{row.adjusted_p:.3g}"
        cost = f"{prices[row.arm]:.2f}" if row.arm in prices else ""
        lines.append(
            f"| {row.arm} | {row.difference:+.2f} | {ends} | {row.better} of {row.cases} | {p} "
            f"| {cost} |"
        )
    return "\n".join(lines)


def _promises(out: Path, summary: Mapping[str, Any], pairs: str) -> str:
    """Each arm by the outcome that its paper promises; empty if the study measured none."""
    if not (out / "outcomes.csv").is_file():
        return ""
    others = [_effect(row) for row in read_table(out / "outcomes.csv")]
    lines = [
        "| arm | outcome | none | difference | 95 % interval | floor | promise |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in promised(others, summary["promises"], pairs):
        ends = "too few" if row.low is None else f"{row.low:+.3g} to {row.high:+.3g}"
        least = "" if row.floor is None else f"{row.floor:.3g}"
        lines.append(
            f"| {row.arm} | {name} | {row.control:.3g} | {row.difference:+.3g} | {ends} | {least} "
            f"| {kept(row)} |"
        )
    return "\n".join(lines) if len(lines) > 2 else ""


def _bias(out: Path) -> str:
    cells = read_table(out / "matrix.csv")
    chart = matrix_chart(
        {(row["trained_on"], row["scored_on"]): float(row["mean"]) for row in cells},
        list(dict.fromkeys(row["trained_on"] for row in cells)),
        list(dict.fromkeys(row["scored_on"] for row in cells)),
        row_label="trained on", column_label="MAE [HU] scored on",
        alt="MAE by the alignment trained on and the alignment scored on",
    )  # fmt: skip
    _picture("bias", chart)
    lines = [
        f"{cells[0]['cases']} digital patients, each scored by a network that never saw them.",
        "",
        "![MAE by alignment trained on and scored on](../pictures/study/bias.svg)",
        "",
        "| scored on | trained on it, less trained on | difference [HU] | 95 % interval |",
        "|---|---|---|---|",
    ]
    for row in read_table(out / "bias.csv"):
        ends = f"{float(row['low']):+.1f} to {float(row['high']):+.1f}" if row["low"] else ""
        lines.append(
            f"| {row['scored_on']} | {row['other']} | {float(row['difference']):+.1f} | {ends} |"
        )
    return "\n".join(lines)


def read_effects(out: Path) -> tuple[list[Effect], dict[str, float]]:
    """Effects of a study in ``out``, and the price of each arm."""
    rows = read_table(out / "effects.csv")
    prices = {row["arm"]: float(row["flops_ratio"]) for row in rows if row["flops_ratio"]}
    return [_effect(row) for row in rows], prices


def _effect(row: Row) -> Effect:
    def number(key: str) -> float | None:
        return float(row[key]) if row[key] else None

    return Effect(
        arm=row["arm"], pairs=row["pairs"], cases=int(row["cases"]), mean=float(row["mean"]),
        control=float(row["control"]), difference=float(row["difference"]), low=number("low"),
        high=number("high"), p=number("p"), adjusted_p=number("adjusted_p"),
        better=int(row["better"]), floor=number("floor") if "floor" in row else None,
        metric=row.get("metric", "mae_hu"),
    )  # fmt: skip


def _picture(name: str, svg: str) -> None:
    """A chart with its style inside, so that it can stand alone."""
    style = f"<style>{(FOLDER / 'report.css').read_text()}</style>"
    alone = svg.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
    head, rest = alone.split(">", 1)
    write_whole(PICTURES / f"{name}.svg", f"{head}>{style}{rest}\n")


if __name__ == "__main__":
    sys.exit(main())
