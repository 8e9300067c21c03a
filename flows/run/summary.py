"""Summary of a run, as text and JSON: scores, exclusions, report, times."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from synthct.data.tables import read_table
from synthct.flows.run.stages import StageResult
from synthct.flows.workspace.project import Project
from synthct.tasks.pipeline.artefacts import (
    CARD,
    EFFECTS,
    EXCLUDED,
    PAGE,
    QUALITY_TABLE,
    REFUSED,
    SCORES,
    SUMMARY,
)

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

SHOWN_METRICS = {
    "mae_hu": ("MAE", "HU", 1),
    "psnr_db": ("PSNR", "dB", 2),
    "ms_ssim": ("MS-SSIM", "", 3),
}
"""Metrics of the score table: heading, unit, digits."""

_METHODS = ("model", "lookup", "linear", "two_point", "constant", "raw", "unregistered")


def score_rows(project: Project) -> list[dict[str, Any]]:
    """Mean scores over cases: one row per source, reference and method, the model first."""
    table = _out(project, "evaluation", SCORES)
    if table is None:
        return []
    values: dict[tuple[str, str, str], dict[str, list[float]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for row in read_table(table):
        if row["metric"] in SHOWN_METRICS and row["value"]:
            key = (row["source"], row["reference"], row["method"])
            values[key][row["metric"]].append(float(row["value"]))
    return [
        {
            "source": source,
            "reference": reference,
            "method": method,
            "cases": max(len(each) for each in metrics.values()),
            **{name: round(fmean(each), 4) for name, each in sorted(metrics.items())},
        }
        for (source, reference, method), metrics in sorted(values.items(), key=_order)
    ]


def floors_hu(project: Project) -> dict[str, float]:
    """Mean registration floor (MAE between alternative registrations) of each source [HU]."""
    table = _out(project, "evaluation", SCORES)
    found: dict[str, list[float]] = defaultdict(list)
    for row in read_table(table) if table is not None else ():
        if row["metric"] == "floor_mae_hu":
            found[row["source"]].append(float(row["value"]))
    return {source: fmean(values) for source, values in sorted(found.items())}


def _order(entry: tuple[tuple[str, str, str], Any]) -> tuple[str, str, int, str]:
    source, reference, method = entry[0]
    place = _METHODS.index(method) if method in _METHODS else len(_METHODS)
    return source, reference, place, method


def exclusions(project: Project) -> list[dict[str, str]]:
    """Cases that a stage excluded, with the reason."""
    found = []
    for stage in project.stages:
        path = project.root / stage.out / EXCLUDED
        if path.is_file():
            found += [{"stage": stage.name, **row} for row in json.loads(path.read_text())]
    return found


def doubted(project: Project) -> list[dict[str, str]]:
    """Registered pairs that the gate doubts and that were not scored for it, with the reason."""
    pairs, scores = (
        _out(project, "registration", QUALITY_TABLE),
        _out(project, "evaluation", SCORES),
    )
    if pairs is None or scores is None:
        return []
    scored = {row["case"] for row in read_table(scores)}
    return [
        {"case": row["case"], "verdict": row["verdict"], "reason": row.get("reason") or ""}
        for row in read_table(pairs)
        if row["verdict"] != "pass" and row["case"] not in scored
    ]


def releases(project: Project) -> list[dict[str, Any]]:
    """Each source's model: ``released``, ``demonstration`` or ``refused``, and its checks."""
    target, summary = project.stage("export"), _out(project, "evaluation", SUMMARY)
    judged = json.loads(summary.read_text()) if summary else {}
    found = []
    for folder in sorted((project.root / target.out).glob("*/")) if target else ():
        card, refused = folder / CARD, folder / REFUSED
        if refused.is_file():
            state, reason = "refused", json.loads(refused.read_text()).get("problem", "")
        elif card.is_file():
            reason = json.loads(card.read_text()).get("demonstration_only", "")
            state = "demonstration" if reason else "released"
        else:
            continue
        suspect = judged.get("suspect", {}).get(folder.name, {"cases": 0, "failed": {}})
        by_check = Counter(name for names in suspect["failed"].values() for name in names)
        found.append(
            {
                "source": folder.name,
                "state": state,
                "reason": reason,
                "checked_cases": suspect["cases"],
                "suspect_cases": len(suspect["failed"]),
                "suspect_by_check": dict(sorted(by_check.items())),
            }
        )
    return found


def _release_lines(row: Mapping[str, Any]) -> list[str]:
    source = row["source"]
    checks = ", ".join(f"{k.replace('_', ' ')} {n}" for k, n in row["suspect_by_check"].items())
    lines = [
        f"{source}: {row['suspect_cases']} of {row['checked_cases']} unseen cases are suspect"
        + (f" ({checks})" if checks else "")
    ]
    state = {
        "released": "released",
        "demonstration": "not released, written for demonstration only",
        "refused": "not released",
    }[row["state"]]
    return [*lines, f"{source}: {state}" + (f": {row['reason']}" if row["reason"] else "")]


def report_page(project: Project) -> Path | None:
    """Path of the HTML report, if it exists."""
    return _out(project, "report", PAGE)


def _out(project: Project, stage: str, file: str) -> Path | None:
    target = project.stage(stage)
    path = project.root / target.out / file if target else None
    return path if path is not None and path.is_file() else None


def as_json(project: Project, built: Sequence[StageResult], seconds: float) -> dict[str, Any]:
    """The summary as JSON-compatible values."""
    page = report_page(project)
    return {
        "workspace": project.name,
        "stages": [{"name": b.name, "how": b.how, "seconds": b.seconds} for b in built],
        "seconds": round(seconds, 1),
        "scores": score_rows(project),
        "releases": releases(project),
        "excluded": exclusions(project),
        "doubted": doubted(project),
        "report": page.relative_to(project.root).as_posix() if page else None,
    }


def study_effects(project: Project) -> list[dict[str, str]]:
    """Rows of the study's ``effects.csv``; empty if there is none."""
    table = project.root / project.stages[-1].out / EFFECTS
    return read_table(table) if table.is_file() else []


def study_as_json(project: Project, seconds: float) -> dict[str, Any]:
    """The results of a study as JSON-compatible values."""
    return {
        "workspace": project.workspace.as_posix(),
        "page": (project.stages[-1].out / PAGE).as_posix(),
        "seconds": round(seconds, 1),
        "effects": study_effects(project),
    }


def show(console: Console, project: Project, built: Sequence[StageResult], seconds: float) -> None:
    """Print the summary."""
    from synthct.tasks.pipeline.progress import spelled_s

    if rows := score_rows(project):
        console.print(score_table(rows))
    for row in doubted(project):
        reason = f": {row['reason']}" if row["reason"] else ""
        console.print(
            f"{row['case']}: not scored, its registration is {row['verdict']}{reason}",
            markup=False, highlight=False, soft_wrap=True,
        )  # fmt: skip
    for source, moved_hu in floors_hu(project).items():
        console.print(
            f"{source}: the reference itself differs by {moved_hu:.1f} HU (MAE) between alignments",
            highlight=False,
        )
    models = releases(project)
    for model in models:
        for line in _release_lines(model):
            console.print(line, markup=False, highlight=False, soft_wrap=True)
    refused = {("export", model["source"]) for model in models}
    for row in exclusions(project):
        if (row["stage"], row.get("unit", "")) in refused:
            continue  # its reason has just been printed
        console.print(
            f"excluded by {row['stage']}: {row.get('unit', '')}: {_reason(row)}", markup=False
        )
    if built:
        times = ", ".join(f"{b.name} {spelled_s(b.seconds)}" for b in built)
        console.print(f"{spelled_s(seconds)} in all: {times}", highlight=False, soft_wrap=True)
    if page := report_page(project):
        path = page.relative_to(project.root)
        console.print(f"report: {path}", highlight=False, soft_wrap=True)


def _reason(row: Mapping[str, str]) -> str:
    """Problem, rule and remedy of an exclusion, in this order and on one line."""
    parts = (row.get(name, "") for name in ("problem", "rule", "remedy"))
    return " ".join("; ".join(part for part in parts if part).split())


def score_table(rows: Sequence[dict[str, Any]]) -> Table:
    """Table of mean scores over unseen patients: the model and the baselines."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title="scores on unseen patients, inside the body (means over cases)")
    for heading in ("source", "against", "method"):
        table.add_column(heading)
    table.add_column("cases", justify="right")
    for heading, unit, _ in SHOWN_METRICS.values():
        title = Text(f"{heading} [{unit}]" if unit else heading)  # [dB] would be read as markup
        table.add_column(title, justify="right", no_wrap=True)
    before = None
    for row in rows:
        group = (row["source"], row["reference"])
        if before not in (None, group):
            table.add_section()
        before = group
        numbers = [
            f"{row[name]:.{digits}f}" if name in row else ""
            for name, (_, _, digits) in SHOWN_METRICS.items()
        ]
        style = "bold" if row["method"] == "model" else ""
        table.add_row(
            row["source"], row["reference"], row["method"], str(row["cases"]), *numbers, style=style
        )
    return table
