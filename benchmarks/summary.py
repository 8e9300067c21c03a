"""Speed: every target, the furthest from it first."""

from __future__ import annotations

from pathlib import Path

from benchmarks._speed import verdicts

DOCS = Path("docs/benchmarks")


def measure() -> str:
    """The verdicts of the pages ``speed_*`` as they lie there, ranked by ratio over target."""
    rows = sorted(
        (
            (ratio / target, row, what, ratio, target, page.stem)
            for page in DOCS.glob("speed_*.md")
            for row, what, ratio, target in verdicts(page.read_text())
        ),
        reverse=True,
    )
    lines = [
        f"| {row} | {what} | {ratio:.2f} | {target:.2f} | {'yes' if share <= 1 else 'no'} "
        f"| [{page}]({page}.md) |"
        for share, row, what, ratio, target, page in rows
    ]
    return "\n".join(
        [
            "Ratios of one run each; the page says of what, and on which processor.",
            "",
            "| row | work | ratio | target | met | page |",
            "|---|---|---|---|---|---|",
            *lines,
            "",
            "`make bench` writes the pages first and this one after them.",
        ]
    )
