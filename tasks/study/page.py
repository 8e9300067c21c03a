"""The study as one offline HTML page for radiotherapy physicists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from synthct.tasks.figures.matrix_chart import matrix_chart
from synthct.tasks.figures.page import FOLDER
from synthct.tasks.figures.templates import templates
from synthct.tasks.study.effects import Effect, least_possible_p
from synthct.tasks.study.figure import forest, scatter
from synthct.tasks.study.matrix import Bias, Cell
from synthct.tasks.study.params import StudyParams

UNITS = {"mae_hu": "HU", "me_hu": "HU", "psnr_db": "dB"}
"""Units of the metrics that have one."""

NAMES = {"mae_hu": "MAE", "psnr_db": "PSNR", "ms_ssim": "MS-SSIM"}


@dataclass(frozen=True)
class Findings:
    """Everything that the page shows."""

    summary: Mapping[str, Any]
    effects: Sequence[Effect]
    prices: Mapping[str, float]
    cells: Sequence[Cell]
    biases: Sequence[Bias]
    params: StudyParams


def page(findings: Findings) -> str:
    """The page as text."""
    environment = templates(Path(__file__).parent)
    summary = findings.summary
    unit = UNITS.get(summary["metric"], "")
    return environment.get_template("study.html.j2").render(
        style=Markup((FOLDER / "report.css").read_text()),
        summary=summary,
        unit=unit,
        metric=NAMES.get(summary["metric"], summary["metric"]),
        sections=[_section(findings, pairs.name, unit) for pairs in findings.params.pairs],
        pairs={pairs.name: pairs for pairs in findings.params.pairs},
        prices=findings.prices,
        title=_title(findings),
        chart=Markup(_chart(findings, unit)) if len(findings.cells) > 1 else "",
        biases=findings.biases,
        verdict=verdict,
    )


def _section(findings: Findings, pairs: str, unit: str) -> dict[str, Any]:
    rows = sorted(
        (effect for effect in findings.effects if effect.pairs == pairs),
        key=lambda effect: effect.difference,
    )
    cases = min((row.cases for row in rows), default=0)
    least = least_possible_p(cases, len(rows)) if rows else 1.0
    significance = findings.params.significance
    metric = NAMES.get(findings.summary["metric"], findings.summary["metric"])
    return {
        "name": pairs,
        "rows": rows,
        "cases": cases,
        "least_p": least,
        "underpowered": least >= significance,
        "forest": Markup(
            forest(rows, unit=unit, alt=f"{metric} difference of every arm on {pairs} pairs")
        ),
        "scatter": Markup(
            scatter(rows, findings.prices, unit=unit, alt=f"Effect against cost, {pairs} pairs")
        ),
    }


def verdict(effect: Effect, summary: Mapping[str, Any], higher_is_better: bool) -> str:
    """Verdict of a row; only a corrected test can make a difference significant."""
    if effect.adjusted_p is None:
        return "too few patients to test"
    if effect.adjusted_p >= summary["significance"]:
        return "no difference shown"
    return "better" if (effect.difference > 0) == higher_is_better else "worse"


def _title(findings: Findings) -> str:
    source = "MR" if findings.summary["source"] == "mr" else "cone-beam CT"
    if len({pairs.alignment for pairs in findings.params.pairs}) > 1:
        return f"How far does registration decide the score of {source} to CT?"
    return f"Does regularization improve {source} to CT?"


def _chart(findings: Findings, unit: str) -> str:
    metric = NAMES.get(findings.summary["metric"], findings.summary["metric"])
    return matrix_chart(
        {(cell.trained_on, cell.scored_on): cell.mean for cell in findings.cells},
        list(dict.fromkeys(cell.trained_on for cell in findings.cells)),
        list(dict.fromkeys(cell.scored_on for cell in findings.cells)),
        row_label="trained on",
        column_label=f"{metric} {f'[{unit}] ' if unit else ''}scored on",
        alt=f"{metric} by the pairs trained on and the reference scored on",
    )
