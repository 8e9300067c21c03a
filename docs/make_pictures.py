"""Make the pictures of README and docs from a workspace's artefacts.

    python docs/make_pictures.py                          # the demo -> docs/pictures/demo_*.png
    python docs/make_pictures.py --workspace workspaces/sts

One picture a source: the case of median error in each region, never the best one. One picture of
registration: the case of each region whose unregistered CT was furthest off, or the first.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from synthct.data.files import write_whole
from synthct.data.layout import Layout
from synthct.tasks.report.overlays import middle
from synthct.tasks.report.overview import RegisteredRow, ScoredRow, registration_png, scores_png
from synthct.tasks.report.reading import Chain, read_chain
from synthct.tasks.report.strips import read_scene
from synthct.tasks.report.views.scores import case_errors

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    """Write the PNGs and name them."""
    parser = argparse.ArgumentParser(description="Pictures of README and docs.")
    parser.add_argument("--workspace", type=Path, default=Path())
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "pictures")
    options = parser.parse_args()
    chain = read_chain(Layout(options.workspace))
    name = options.workspace.resolve().name if options.workspace != Path() else "demo"
    for picture, content in pictures(chain):
        file = options.out / f"{name}_{picture}.png"
        write_whole(file, content)
        sys.stdout.write(f"{file} ({len(content) / 1000:.0f} kB)\n")


def pictures(chain: Chain) -> Iterator[tuple[str, bytes]]:
    """Name and PNG of each picture that the artefacts allow."""
    for source in ("mr", "cbct"):
        rows = scored_rows(chain, source)
        if rows:
            yield f"scores_{source}", scores_png(rows)
        registered = registered_rows(chain, source)
        if registered:
            yield f"registration_{source}", registration_png(registered)


def scored_rows(chain: Chain, source: str) -> list[ScoredRow]:
    """The case of median error of each region, at the slice that halves its scored volume."""
    errors = {c: e for c, e in case_errors(chain).items() if chain.cases[c]["source"] == source}
    rows = []
    for region in sorted({chain.cases[case]["region"] for case in errors}):
        here = sorted((e, c) for c, e in errors.items() if chain.cases[c]["region"] == region)
        error, case = here[(len(here) - 1) // 2]
        scene = read_scene(chain.folders["registration"] / case, chain.folders["evaluation"] / case)
        label = f"{region}, MAE {error:.0f} HU"
        rows.append(ScoredRow(label, scene, middle(scene.mask, 0)))
    return rows


def registered_rows(chain: Chain, source: str) -> list[RegisteredRow]:
    """For each region the pair that was furthest off before registration."""
    off = {row["case"]: row.get("true_unregistered_mm") or "0" for row in chain.registration_rows}
    cases = [case for case, facts in chain.cases.items() if facts["source"] == source]
    rows = []
    for region in sorted({chain.cases[case]["region"] for case in cases}):
        here = [case for case in cases if chain.cases[case]["region"] == region]
        worst = here[int(np.argmax([float(off.get(case, 0)) for case in here]))]
        rows.append(RegisteredRow(region, chain.folders["registration"] / worst))
    return rows


if __name__ == "__main__":
    main()
