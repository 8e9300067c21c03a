"""``python -m docs.make_study``: pictures and tables of ``docs/study.md`` from finished studies.

    python -m docs.make_study [--from FOLDER]

Reads ``workspaces/study`` and ``workspaces/bias`` below FOLDER (default: this repository), as
``synthct study`` and ``synthct study --grid presets/bias.yaml`` leave them; measures nothing.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from data.files import write_whole
from data.tables import read_table
from tasks.report.matrix_chart import matrix_chart
from tasks.report.page import FOLDER
from tasks.study.effects import Effect, least_possible_p
from tasks.study.figure import forest, scatter

PAGE = Path(__file__).with_name("study.md")
PICTURES = PAGE.parent / "pictures" / "study"
BLOCK = re.compile(r"(<!-- (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)

Row = Mapping[str, str]


def main() -> int:
    """Write pictures and tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--from", dest="root", type=Path, default=PAGE.parent.parent)
    root = parser.parse_args().root / "workspaces"
    outs = {name: root / name / "artefacts" / "study" for name in ("study", "bias")}
    told = {name: _told(name, out) for name, out in outs.items()}
    text = PAGE.read_text()
    write_whole(PAGE, BLOCK.sub(lambda m: f"{m[1]}\n{told[m[2]]}\n\n{m[3]}", text))
    return 0


def _told(name: str, out: Path) -> str:
    if not (out / "summary.json").is_file():
        return "Not measured yet."
    return (_regularizers if name == "study" else _bias)(out)


def _regularizers(out: Path) -> str:
    effects, prices = _effects(out)
    summary = json.loads((out / "summary.json").read_text())
    parts = [
        f"{len(summary['arms'])} arms, {summary['patients']} digital patients of one region in "
        f"{summary['folds']} folds, {summary['seeds']} seed, "
        f"scored against the {summary['reference']}."
    ]
    for pairs in summary["pairs"]:
        rows = sorted((e for e in effects if e.pairs == pairs), key=lambda e: e.difference)
        least = least_possible_p(min(e.cases for e in rows), len(rows))
        _picture(f"effects_{pairs}", forest(rows, unit="HU", alt=f"Effects on {pairs} pairs"))
        _picture(f"cost_{pairs}", scatter(rows, prices, unit="HU", alt=f"Cost on {pairs} pairs"))
        parts += [
            f"### {pairs} pairs: none {rows[0].control:.1f} HU",
            f"Smallest corrected p that could be found: {least:.2g}.",
            f"![Effects on {pairs} pairs](pictures/study/effects_{pairs}.svg)",
            f"![Effect against cost on {pairs} pairs](pictures/study/cost_{pairs}.svg)",
            _table(rows, prices),
        ]
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
        "![MAE by alignment trained on and scored on](pictures/study/bias.svg)",
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


def _effects(out: Path) -> tuple[list[Effect], dict[str, float]]:
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
        better=int(row["better"]),
    )  # fmt: skip


def _picture(name: str, svg: str) -> None:
    """A chart with its style inside, so that it can stand alone."""
    style = f"<style>{(FOLDER / 'report.css').read_text()}</style>"
    alone = svg.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
    head, rest = alone.split(">", 1)
    write_whole(PICTURES / f"{name}.svg", f"{head}>{style}{rest}\n")


if __name__ == "__main__":
    sys.exit(main())
