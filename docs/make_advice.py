"""Evidence behind the advice on regularizers, from the tables of the study's page.

    python -m docs.make_advice

Reads the block ``<!-- study -->`` of ``docs/benchmarks/study.md`` and the arms of
``presets/study.yaml``, and writes ``tasks/regularization/evidence.csv``, from which ``synthct
regularizers`` and the site's page tell what is recommended.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from synthct.data.tables import write_table
from synthct.data.yaml_text import load_yaml
from synthct.tasks.regularization.advice import EVIDENCE

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "benchmarks" / "study.md"
GRID = ROOT / "presets" / "study.yaml"

SAME_RECIPE = ("hoag", "norm_loss")
"""Two arms of the present page that were one recipe: hoag's strength never moved. Their difference
is that of two runs, and the only measure of training's randomness that this page has."""

CHANGED = {
    "early_learning", "nested_dropout", "nested_co_teaching", "gradient_norm", "hoag",
    "wavelet_sparsity",
}  # fmt: skip
"""Regularizers whose method has changed since the page was measured; empty it after a new study."""

_SECTION = re.compile(r"### (\S+) pairs: none.*?(?=\n### |\n<!-- end)", re.DOTALL)
_FLOOR = re.compile(r"^Floor: ([\d.]+) HU", re.MULTILINE)
_ROW = re.compile(
    r"^\| (\S+) \| ([+-][\d.]+) \| ([+-][\d.]+) to ([+-][\d.]+) \| (\d+) of (\d+) \| (\S+) \| "
    r"([\d.]+) \|$",
    re.MULTILINE,
)


def main() -> int:
    """Write the evidence."""
    rows = list(evidence(PAGE.read_text(), load_yaml(GRID.read_text())))
    write_table(EVIDENCE, list(rows[0]), rows)
    return 0


def evidence(page: str, grid: Any) -> Iterator[dict[str, Any]]:
    """One row for each arm that is a single regularizer, and each set of pairs."""
    block = page.partition("<!-- study -->")[2].partition("<!-- end -->")[0] + "\n<!-- end"
    named = dict(_regularizers(grid))
    sections = {found[1]: found[0] for found in _SECTION.finditer(block)}
    assumed = 2 * max((_gap(text) for text in sections.values()), default=0.0)
    for pairs, text in sections.items():
        stated = _FLOOR.search(text)
        for arm, difference, low, high, better, cases, p, arithmetic in _ROW.findall(text):
            if arm in named:
                yield {
                    "regularizer": named[arm], "pairs": pairs, "difference": float(difference),
                    "low": float(low), "high": float(high), "adjusted_p": float(p),
                    "better": int(better), "cases": int(cases), "arithmetic": float(arithmetic),
                    "floor": float(stated[1]) if stated else assumed,
                    "floor_measured": int(stated is not None),
                    "changed": int(named[arm] in CHANGED),
                }  # fmt: skip


def _regularizers(grid: Any) -> Iterator[tuple[str, str]]:
    """Arms that differ from the control by their last regularizer alone."""
    for arm in grid["study"]["arms"]:
        if arm.get("regularizers") and "losses" not in arm:
            yield arm["name"], arm["regularizers"][-1]["name"]


def _gap(text: str) -> float:
    """Distance of the two arms that are one recipe."""
    found = {row[0]: float(row[1]) for row in _ROW.findall(text)}
    both = [found[arm] for arm in SAME_RECIPE if arm in found]
    return abs(both[0] - both[1]) if len(both) == 2 else 0.0


if __name__ == "__main__":
    sys.exit(main())
