"""Screenshots of report, viewer and comparison for the docs: on a desk, on a phone and on paper.

    python -m docs.make_screens A B [--checkout FOLDER] [--case CASE] [--out FOLDER]

A and B are workspaces that have run in the checkout (`demo`: the root). Needs Chromium and pdftoppm
(apt-get install chromium poppler-utils). `SYNTHCT_PICTURES=docs/pictures/screens pytest -m ""
tests/flows/serve/test_screens.py` writes those of the status page.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import shutil
import sys
import tempfile
from pathlib import Path

from PIL import Image

from synthct.data.files import write_whole
from synthct.data.tables import read_table
from synthct.flows.cli.app import command_line
from tests.flows.serve.screen import SHOTS, opened

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "docs" / "pictures" / "screens"
COLOURS = 96
"""Colours of a picture's palette: a quarter of the bytes, and nothing that is seen is lost."""


def main() -> int:
    """Write the pictures and name them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("first", metavar="A")
    parser.add_argument("second", metavar="B")
    parser.add_argument("--checkout", type=Path, default=ROOT)
    parser.add_argument("--case", help="case of the viewer (default: the first of the report)")
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None or shutil.which("pdftoppm") is None:
        parser.error("chromium or pdftoppm is absent: apt-get install chromium poppler-utils")
    out = given.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="screens-") as temporary:
        made = Path(temporary)
        with contextlib.chdir(given.checkout):
            found = pages(given.first, given.second, given.case, made)
        with opened(chromium, made / "profile") as look:
            for name, (page, text) in found.items():
                for suffix, how in SHOTS.items():
                    picture = look(page.as_uri(), made / f"{name}-{suffix}.png", text, **how)
                    small = smaller(picture)
                    write_whole(out / picture.name, small)
                    sys.stdout.write(f"{picture.name}: {len(small) / 1000:.0f} kB\n")
    return 0


def pages(first: str, second: str, case: str | None, folder: Path) -> dict[str, tuple[Path, str]]:
    """The pages by name, each with a text that it shows when it is ready."""
    preset = [] if first == "demo" else ["--preset", first]
    root = Path("data") if first == "demo" else Path("workspaces") / first
    artefacts = root.resolve() / "artefacts"
    worst = case or worst_case(artefacts / "evaluation" / "scores.csv")
    view, comparison = folder / "view.html", folder / "comparison.html"
    for line in (
        ["view", worst, *preset, "--out", str(view), "--no-open"],
        ["compare", first, second, "--out", str(comparison)],
    ):
        if command_line(line) != 0:
            raise SystemExit(f"synthct {' '.join(line)} failed")
    return {
        "report": (artefacts / "report" / "index.html", "synthct report"),
        "viewer": (view, "difference"),
        "comparison": (comparison, "synthct comparison"),
    }


def worst_case(scores: Path) -> str:
    """The case of the model's largest MAE, which the report lists first."""
    wanted = ("model", "registered", "mae_hu")
    rows = (row for row in read_table(scores) if row["value"])
    found = {
        row["case"]: float(row["value"])
        for row in rows
        if (row["method"], row["reference"], row["metric"]) == wanted
    }
    return max(found, key=lambda case: found[case])


def smaller(picture: Path) -> bytes:
    """The picture as a palette PNG without metadata."""
    file = io.BytesIO()
    pixels = Image.open(picture).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    pixels.save(file, "PNG", optimize=True)
    return file.getvalue()


if __name__ == "__main__":
    sys.exit(main())
