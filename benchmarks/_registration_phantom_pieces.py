"""The pieces of the phantom benchmark on disk: one file for each seed, region and source."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

FOLDER = Path("runs/registration_phantom")
REGIONS = ("thorax", "abdomen", "head-neck")
SOURCES = ("mr", "cbct")

REFERENCE = "elastix_mi"
TUNED = "elastix_mi, demo preset"
"""Names of the two rows that the others are compared with."""

LONG = "lncc, twice the steps"


def pieces(seeds: int) -> Iterator[tuple[int, str, str]]:
    """Seeds outermost, so that an incomplete run is balanced over regions and sources."""
    yield from product(range(seeds), REGIONS, SOURCES)


def file_of(seed: int, region: str, source: str) -> Path:
    """Where the piece is kept."""
    return FOLDER / f"{region}_{source}_{seed:02d}.json"


def load(seed: int, region: str, source: str) -> dict[str, Any]:
    """The piece; empty if it does not exist."""
    path = file_of(seed, region, source)
    return json.loads(path.read_text()) if path.is_file() else {}
