"""Speed: ratios to an earlier build or to another program, the largest first."""

from __future__ import annotations

from pathlib import Path

from benchmarks._speed import results

DOCS = Path("docs/benchmarks")


def measure() -> str:
    """The results on the pages ``speed_*`` as they are, sorted by ratio."""
    rows = sorted(
        (
            (ratio, what, reference, page.stem)
            for page in DOCS.glob("speed_*.md")
            for ratio, what, reference in results(page.read_text())
        ),
        reverse=True,
    )
    lines = [
        f"| {what} | {reference} | {ratio:.2f} | [{page}]({page}.md) |"
        for ratio, what, reference, page in rows
    ]
    return "\n".join(
        [
            "Each ratio is from one run. A ratio below 1 means less time or space than the "
            "reference. The linked page describes the work and names the processor.",
            "",
            "| work | relative to | ratio | page |",
            "|---|---|---|---|",
            *lines,
            "",
            "`make bench` writes the pages first and this one after them.",
        ]
    )
