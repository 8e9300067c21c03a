"""Ingestion: damaged files, by format and kind of damage"""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path

import numpy as np

from tests.fixtures.damage import (
    CAUGHT,
    EXTRA,
    FORMATS,
    HARMLESS,
    KINDS,
    WRONG,
    damaged,
    make,
    outcome,
)

EACH = 250
"""Damaged files per format: 8 x 250 = 2,000."""

HEADER_ONLY = 200
"""Flipped header bits per format, for the last table."""

MEANING = """\
A file is damaged in one place, drawn uniformly: **cut** (it ends early), **length** (1 to 64 bytes
added or lost in the middle), **payload** (one flipped bit in the voxels), **header** (one flipped
bit anywhere before them). **Caught**: reading ends with an error that names the file. **Harmless**:
the scan is read with the same voxels in the same position (a flipped bit in a description, in
padding or in an unused field). **Silent**: other voxels or another position, without an error.

No reader can detect some damage in a file that it has never seen: a flipped bit in uncompressed
pixels (it is another value), in a compressed stream without a checksum (JPEG family, RLE, zarr's
default codecs: it is another image), and in a header number that stays plausible and is stored only
once (the spacing of a MetaImage). After ingestion, SHA-256 detects all of these. Damage that
contradicts another part of the file or another slice is caught."""


def measure() -> str:
    """The tables, as markdown."""
    rows = [_row(name, EACH) for name in FORMATS]
    total = sum(EACH for _ in FORMATS)
    extra = [_row(name, EACH // 2) for name in EXTRA]
    headers = [_header_row(name) for name in FORMATS]
    head = "| format | " + " | ".join(KINDS) + " |\n|---|" + "---|" * len(KINDS) + "\n"
    return (
        f"{MEANING}\n\n## {total:,} damaged files of eight formats\n\n"
        f"Caught / harmless / silent.\n\n{head}" + "\n".join(rows) + "\n\n"
        "## Compressed formats whose standard has no checksum\n\n"
        + head
        + "\n".join(extra)
        + "\n\n"
        f"## {HEADER_ONLY} flipped header bits per format\n\n"
        "| format | caught | harmless | silent |\n|---|---|---|---|\n" + "\n".join(headers)
    )


def _outcomes(name: str, kinds: list[str]) -> Counter[tuple[str, str]]:
    found: Counter[tuple[str, str]] = Counter()
    with tempfile.TemporaryDirectory(prefix="synthct-bench-") as place:
        source = make(name, Path(place) / "good")
        for number, kind in enumerate(kinds):
            rng = np.random.default_rng([number, len(name), len(kinds)])
            path = damaged(source, kind, rng, Path(place) / "bad")
            found[kind, outcome(source, path)] += 1
    return found


def _row(name: str, count: int) -> str:
    found = _outcomes(name, [KINDS[number % len(KINDS)] for number in range(count)])
    cells = [
        " / ".join(str(found[kind, one]) for one in (CAUGHT, HARMLESS, WRONG)) for kind in KINDS
    ]
    return f"| {name} | {' | '.join(cells)} |"


def _header_row(name: str) -> str:
    found = _outcomes(name, ["header"] * HEADER_ONLY)
    cells = [str(found["header", one]) for one in (CAUGHT, HARMLESS, WRONG)]
    return f"| {name} | {' | '.join(cells)} |"
