"""Scores of model and baselines against each reference, and pictures, worst case first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from synthct.tasks.figures.charts import Dots, dot_chart
from synthct.tasks.figures.names import method_name, reference_name, source_name
from synthct.tasks.figures.numbers import fixed, short
from synthct.tasks.report.reading import Chain, Score
from synthct.tasks.report.strips import Strip, worst_first
from synthct.tasks.report.table import Table
from synthct.tasks.report.views.score_tables import (
    bias_table,
    part_tables,
    ratio_table,
    score_table,
)
from synthct.tasks.report.views.scores import (
    MAE,
    case_errors,
    methods_of,
    pick,
    references_of,
    regions_of,
    sources_of,
)


@dataclass(frozen=True)
class ScoredCase:
    """A case's pictures with its own numbers."""

    rank: int
    case: str
    source: str
    region: str
    fold: str
    mae_hu: str
    others: str
    strip: Strip


@dataclass(frozen=True)
class SourceScores:
    """One source: chart, tables, registration bias, and the registration floor as a sentence."""

    source: str
    chart: str
    legend: Sequence[tuple[str, int]]
    table: Table
    ratios: Table | None
    bias: Table | None
    floor: str
    parts: Sequence[Table]


@dataclass(frozen=True)
class Evaluation:
    """The evaluation section."""

    there: bool
    profile: str
    not_scored: Sequence[tuple[str, str]]
    sources: Sequence[SourceScores]
    cases: Sequence[ScoredCase]
    not_shown: int


def evaluation(chain: Chain, strips: Mapping[str, Strip]) -> Evaluation:
    """Scores of all sources, and the pictures that were drawn."""
    errors = case_errors(chain)
    order = worst_first(list(errors.items()))
    return Evaluation(
        there=chain.has("evaluation"),
        profile=_profile(chain.summary.get("profile") or {}),
        not_scored=sorted((chain.summary.get("not_scored_against_registered") or {}).items()),
        sources=[_source(chain, source) for source in sources_of(chain.scores)],
        cases=[
            _case(chain, name, rank, errors[name], strips[name])
            for rank, name in enumerate(order, start=1)
            if name in strips
        ],
        not_shown=len(order) - len(strips),
    )


def _profile(profile: Mapping[str, Any]) -> str:
    if not profile:
        return ""
    low, high = (fixed(float(profile[name]), 0) for name in ("low_hu", "high_hu"))
    return f"{profile['name']}: PSNR and MS-SSIM over {low} to {high} HU, MAE and ME unclipped"


def _source(chain: Chain, source: str) -> SourceScores:
    scores = pick(chain.scores, source=source)
    colours = {region: number for number, region in enumerate(regions_of(scores))}
    return SourceScores(
        source=source_name(source),
        chart=_chart(scores, source, colours),
        legend=list(colours.items()),
        table=score_table(scores, source),
        ratios=ratio_table((chain.summary.get("ratio") or {}).get(source) or {}),
        bias=bias_table(scores),
        floor=_floor((chain.summary.get("registration_bias") or {}).get(source) or {}),
        parts=part_tables(scores),
    )


def _floor(bias: Mapping[str, Any]) -> str:
    if "reference_mae_hu" not in bias:
        return ""
    return (
        f"The registered CT itself differs from the true CT by {short(bias['reference_mae_hu'])} "
        f"HU (MAE, mean of {bias['n']} cases); no score against it can resolve less than that."
    )


def _moves(chain: Chain, case: str) -> list[str]:
    """Difference of the case's reference between alignments, if it was measured."""
    measured = (chain.trust.get("floor") or {}).get(case) or {}
    floor = measured.get("floor_mae_hu")
    return [] if floor is None else [f"reference between alignments {fixed(floor, 0)}"]


def _chart(scores: Sequence[Score], source: str, colours: Mapping[str, int]) -> str:
    lines = pick(scores, metric=MAE)
    reference = references_of(lines)[0]
    lines = pick(lines, reference=reference)
    rows = [
        Dots(
            method_name(method),
            [(s.case, s.value, colours[s.region]) for s in pick(lines, method=method)],
        )
        for method in methods_of(lines)
    ]
    means = "; ".join(f"{r.name} {np.mean([v for _, v, _ in r.values]):.0f} HU" for r in rows)
    label = f"MAE {reference_name(reference)} [HU]"
    name = source_name(source)
    alt = f"{name}, mean absolute error of each case by method; means: {means}"
    return dot_chart(rows, x_label=label, alt=alt)


def _case(chain: Chain, name: str, rank: int, mae_hu: float, strip: Strip) -> ScoredCase:
    lines = [s for s in chain.scores if s.case == name]
    first = lines[0]
    reference = references_of(pick(lines, method="model", metric=MAE))[0]
    lines = pick(lines, metric=MAE, reference=reference)
    others = [
        f"{method_name(m)} {fixed(pick(lines, method=m)[0].value, 0)}"
        for m in methods_of(lines)
        if m != "model"
    ]
    return ScoredCase(
        rank=rank,
        case=name,
        source=source_name(first.source),
        region=first.region,
        fold=first.fold,
        mae_hu=fixed(mae_hu, 1),
        others=", ".join([*others, *_moves(chain, name)]),
        strip=strip,
    )
