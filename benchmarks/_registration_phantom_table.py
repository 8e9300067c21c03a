"""The tables of the phantom benchmark, from the pieces that exist."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from benchmarks._registration_phantom_pieces import (
    LONG,
    REFERENCE,
    REGIONS,
    SOURCES,
    TUNED,
    load,
    pieces,
)
from synthct.tasks.fields.jacobian import DeformationQuality
from synthct.tasks.registration.bone import BoneMotion
from synthct.tasks.registration.gate.gate import judge
from synthct.tasks.registration.gate.measures import StepMeasures
from synthct.tasks.registration.gate.params import GateParams
from synthct.tasks.registration.rigid.competing_poses import CompetingPoses

BY_SOURCE = {"mr": "mi", "cbct": LONG}
"""The recommended method, by source."""

ADVISED = "mi on MR, lncc (twice the steps) on CBCT"
"""Its row in the summary."""

Piece = Mapping[str, Any]
Made = Mapping[tuple[int, str, str], Piece]
"""The judged pieces by seed, region and source."""


def page(seeds: int, labels: Sequence[str]) -> str:
    """The tables as markdown."""
    found = {entry: load(*entry) for entry in pieces(seeds)}
    made = {entry: judged(value) for entry, value in found.items() if "methods" in value}
    failed = sum("failure" in value for value in found.values())
    parts = [
        f"{len(made)} of {len(found)} patients ({seeds} seeds x {len(REGIONS)} regions x "
        f"{len(SOURCES)} sources)" + (f", {failed} without a rigid step" if failed else "") + ". "
        "Mean error inside the body [mm], averaged over the patients: after the deformable step, "
        "and (gated) of the step that the quality gate chooses. In brackets: the number of "
        "patients, if not all. Voxels of 6 mm (head-neck 4.5 mm), one thread. *start*: without "
        "registration; *best rigid*: the error that remains after the best rigid motion."
    ]
    parts += [table(made, source, labels) for source in SOURCES]
    parts += [summary(made, labels), by_region(made), witnesses(made)]
    return "\n\n".join(part for part in parts if part)


def judged(value: Piece) -> Piece:
    """The piece with the verdict of the gate on every row, and the error of the chosen step."""
    errors = {"identity": value["start_mm"], "rigid": value["rigid_mm"]}
    for row in value["methods"].values():
        steps = dict(value["base"])
        if "measures" in row:
            steps["deformable"] = row["measures"]
        found = judge(
            {name: _measures(figures) for name, figures in steps.items()},
            {"deformable": row["failure"]} if "failure" in row else {},
            GateParams(),
            CompetingPoses(**value["competing_poses"]),
        )
        row["verdict"] = found.verdict
        row["gated_mm"] = errors.get(found.step, row["error_mm"])
    return value


def _measures(figures: Mapping[str, Any]) -> StepMeasures:
    parts = {
        "deformation": DeformationQuality(**figures["deformation"]),
        "bone": BoneMotion(**figures["bone"]),
    }
    return StepMeasures(**{**figures, **parts})


def table(made: Made, source: str, labels: Sequence[str]) -> str:
    """Mean errors by row and region, for one source."""
    head = f"| {source} | " + " | ".join(f"{region} | gated" for region in REGIONS) + " |"
    lines = [head, "|---|" + "---:|" * (2 * len(REGIONS))]
    for name, key in (
        ("start", "start_mm"),
        ("best rigid", "best_rigid_mm"),
        ("our rigid", "rigid_mm"),
    ):
        cells = [_mean(value[key] for value in _of(made, source, region)) for region in REGIONS]
        lines.append(f"| *{name}* | " + " | ".join(f"{cell} |" for cell in cells) + " |")
    measured = {label for value in made.values() for label in value["methods"]}
    for label in (name for name in labels if name in measured):
        cells = []
        for region in REGIONS:
            patients = _of(made, source, region)
            rows = [v["methods"][label] for v in patients if label in v["methods"]]
            some = f" ({len(rows)})" if 0 < len(rows) < len(patients) else ""
            cells += [_mean(row["error_mm"] for row in rows) + some]
            cells += [_mean(row["gated_mm"] for row in rows)]
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def summary(made: Made, labels: Sequence[str]) -> str:
    """Compared with both elastix rows, over the patients for which these have a result."""
    lines = [
        f"| method | error / {REFERENCE} | error / {TUNED} | worse than start "
        f"| gated: worse than start | pass / suspect / fail | CPU / {REFERENCE} |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for label in (*labels, ADVISED):
        rows = [
            (value, row) for entry, value in made.items() if (row := _chosen(entry, value, label))
        ]
        if not rows:
            continue
        worse, gated = (
            sum(row[key] > value["start_mm"] for value, row in rows)
            for key in ("error_mm", "gated_mm")
        )
        verdicts = [row["verdict"] for _, row in rows]
        counts = " / ".join(str(verdicts.count(word)) for word in ("pass", "suspect", "fail"))
        crashed = sum("failure" in row for _, row in rows)
        counts += f" ({crashed} without a result)" if crashed else ""
        ratios = [ratio(rows, peer, "error_mm") for peer in (REFERENCE, TUNED)]
        lines.append(
            f"| {label} | {' | '.join(ratios)} | {worse} of {len(rows)} | {gated} of {len(rows)} "
            f"| {counts} | {ratio(rows, REFERENCE, 'cpu_seconds')} |"
        )
    return "\n".join(lines)


def by_region(made: Made) -> str:
    """The recommended methods compared with both elastix rows, by region."""
    heads = [f"{source}, {region}" for source in SOURCES for region in REGIONS]
    lines = ["| error of " + ADVISED + " / | " + " | ".join(heads) + " |"]
    lines.append("|---|" + "---:|" * len(heads))
    for peer in (REFERENCE, TUNED):
        cells = []
        for source in SOURCES:
            for region in REGIONS:
                rows = [
                    (value, row)
                    for value in _of(made, source, region)
                    if (row := value["methods"].get(BY_SOURCE[source]))
                ]
                cells.append(ratio(rows, peer, "error_mm"))
        lines.append(f"| {peer} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _chosen(entry: tuple[int, str, str], value: Piece, label: str) -> Any:
    return value["methods"].get(BY_SOURCE[entry[2]] if label == ADVISED else label)


def ratio(rows: Sequence[tuple[Piece, Mapping[str, Any]]], peer: str, key: str) -> str:
    """Mean of ``key`` over that of the peer, over the patients for which both have a result.

    A peer that failed has no result to compare with. Taking the rigid step instead would favour the
    other method.
    """
    both = [
        (row, other)
        for value, row in rows
        if "failure" not in row
        and "failure" not in (other := value["methods"].get(peer, {"failure": "not run"}))
    ]
    if not both:
        return "-"
    mine, theirs = (np.mean([pair[side][key] for pair in both]) for side in (0, 1))
    some = f" ({len(both)})" if len(both) < len(rows) else ""
    return f"{mine / theirs:.2f}{some}"


def witnesses(made: Made) -> str:
    """Rank correlation of the gate's measures with the true error, over all rows."""
    rows = [
        row for value in made.values() for row in value["methods"].values() if "measures" in row
    ]
    if len(rows) < 8:
        return ""
    figures: Mapping[str, Callable[[Mapping[str, Any]], float]] = {
        "1 - edge agreement": lambda row: -row["measures"]["edges"],
        "1 - mutual information": lambda row: -row["measures"]["information"],
        "1 - Dice of the bodies": lambda row: -row["measures"]["dice"],
        "SD of log-Jacobian": lambda row: row["measures"]["deformation"]["sd_log_jacobian"],
        "folding": lambda row: row["measures"]["deformation"]["folding_percent"],
        "strain of bone": lambda row: row["measures"]["bone"]["strain"],
    }
    lines = [
        "| measure of the gate | rank correlation with the true error | rows |",
        "|---|---:|---:|",
    ]
    for name, figure in figures.items():
        first = np.array([figure(row) for row in rows])
        errors = np.array([row["error_mm"] for row in rows])
        constant = np.ptp(first) == 0
        value = "none (constant)" if constant else f"{spearmanr(first, errors).statistic:.2f}"
        lines.append(f"| {name} | {value} | {len(rows)} |")
    return "\n".join(lines)


def _of(made: Made, source: str, region: str) -> list[Piece]:
    return [value for (_, where, what), value in made.items() if (where, what) == (region, source)]


def _mean(values: Iterable[float]) -> str:
    listed = list(values)
    return f"{np.mean(listed):.2f}" if listed else "-"
