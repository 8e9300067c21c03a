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
from synthct.tasks.study.params import StudyParams, is_replicate

UNITS = {"mae_hu": "HU", "me_hu": "HU", "psnr_db": "dB"}
"""Units of the metrics that have one."""

NAMES = {"mae_hu": "MAE", "psnr_db": "PSNR", "ms_ssim": "MS-SSIM"}

OUTCOME_NAMES = {
    "mae_hu_air": "MAE in air [HU]",
    "mae_hu_soft": "MAE in soft tissue [HU]",
    "mae_hu_bone": "MAE in bone [HU]",
    "bias_hu": "distance of the mean error from 0 [HU]",
    "bone_missed": "share of the bone's surface that is missed",
    "noise_gain_hu": "change by noise in the source [HU]",
    "int8_hu": "MAE added by 8 bits [HU]",
    "shifted_hu": "MAE added by another scanner [HU]",
    "coverage_gap": "distance of the coverage of 90 % intervals from 90 % [%]",
    "wrong_hu": "MAE where the training target was wrong [HU]",
}
"""Outcomes on the page, with their units; lower is better."""


@dataclass(frozen=True)
class Findings:
    """Data of the page."""

    summary: Mapping[str, Any]
    effects: Sequence[Effect]
    others: Sequence[Effect]
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
        kept=kept,
    )


def _section(findings: Findings, pairs: str, unit: str) -> dict[str, Any]:
    rows = sorted(
        (effect for effect in findings.effects if effect.pairs == pairs),
        key=lambda effect: effect.difference,
    )
    cases = min((row.cases for row in rows), default=0)
    tested = sum(not is_replicate(row.arm) for row in rows)
    least = least_possible_p(cases, tested) if rows else 1.0
    significance = findings.params.significance
    metric = NAMES.get(findings.summary["metric"], findings.summary["metric"])
    return {
        "name": pairs,
        "rows": rows,
        "cases": cases,
        "least_p": least,
        "floor": rows[0].floor if rows else None,
        "promised": promised(findings.others, findings.summary["promises"], pairs),
        "underpowered": least >= significance,
        "forest": Markup(
            forest(rows, unit=unit, alt=f"{metric} difference of every arm on {pairs} pairs")
        ),
        "scatter": Markup(
            scatter(rows, findings.prices, unit=unit, alt=f"Effect against cost, {pairs} pairs")
        ),
    }


def promised(
    others: Sequence[Effect], promises: Mapping[str, str], pairs: str
) -> list[tuple[str, Effect]]:
    """For each arm with a promise: the outcome's name, and the effect on it where it is defined."""
    found = {(effect.arm, effect.metric): effect for effect in others if effect.pairs == pairs}
    return [
        (OUTCOME_NAMES.get(metric, metric), found[arm, metric])
        for arm, metric in promises.items()
        if (arm, metric) in found
    ]


def kept(effect: Effect) -> str:
    """Whether an arm does what its paper promises, by interval and floor of that outcome."""
    if effect.low is None:
        return "too few patients to test"
    if not effect.shown:
        return "not shown"
    return "kept" if effect.difference < 0 else "the opposite"


def verdict(effect: Effect, summary: Mapping[str, Any], higher_is_better: bool) -> str:
    """Verdict of a row: a corrected test, an interval without 0, and more than the floor."""
    if is_replicate(effect.arm):
        return "the same recipe again"
    if effect.adjusted_p is None:
        return "too few patients to test"
    if effect.floor is None:
        return "run noise unknown"
    if not effect.above_floor:
        return "below the floor"
    if effect.adjusted_p >= summary["significance"] or not effect.shown:
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
