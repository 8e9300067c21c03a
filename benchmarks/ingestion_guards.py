"""Ingestion: planted faults that are found, and false alarms on sound scans."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path

import numpy as np

from tests.fixtures.clean_scans import ORDERS, clean_scans
from tests.fixtures.ingestion_checks import SAME_MM, alarms, look_at, mended
from tests.fixtures.scan_faults import KINDS, sound_ct

SEEDS = 10
CLEAN = 200


def _kind(name: str) -> tuple[int, str, str]:
    found, repaired, to_repair = 0, 0, 0
    codes: Counter[str] = Counter()
    for seed in range(SEEDS):
        region, ct = sound_ct(seed)
        with tempfile.TemporaryDirectory() as folder:
            planted = KINDS[name].plant(Path(folder) / "s", ct, np.random.default_rng(seed))
            looked = look_at(planted, region)
            named = looked.codes & KINDS[name].codes
            found += bool(named)
            codes.update(named)
            if planted.truth is not None:
                to_repair += 1
                repaired += mended(planted, looked)
    mends = f"{repaired} of {to_repair}" if to_repair else ""
    return found, ", ".join(f"`{code}`" for code, _ in codes.most_common()), mends


def measure() -> str:
    """Table of kinds, and the count of alarms on sound scans."""
    rows, total = [], 0
    for name in sorted(KINDS):
        found, codes, mends = _kind(name)
        total += found
        rows.append(f"| {name} | {found} of {SEEDS} | {codes} | {mends} |")
    false = list(alarms(clean_scans(CLEAN, orders=ORDERS)))
    head = (
        f"{total} of {len(KINDS) * SEEDS} planted faults were found ({len(KINDS)} kinds in {SEEDS} "
        f"digital patients each), with {len(false)} alarms on {CLEAN} sound scans (CT, MR, CBCT; "
        f"whole heads, thoraces, abdomens), each as {', '.join(ORDERS)} slices: "
        f"{CLEAN * len(ORDERS)} in all. "
        f"In a repaired scan, every voxel is within {SAME_MM:g} mm of its true position and has "
        "its exact value."
    )
    table = "| fault | found | reported as | repaired |\n|---|---|---|---|\n" + "\n".join(rows)
    return "\n\n".join([head, table, *false])
