"""Ingestion: malicious files."""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections import Counter
from pathlib import Path

from synthct.data.errors import DataError
from synthct.data.readers import read_scan
from synthct.data.readers.process import pool
from synthct.data.volume import Modality
from tests.fixtures.hostile import BUILDERS
from tests.fixtures.hostile.base import CANARY


def measure() -> str:
    """The table, as markdown."""
    refused: Counter[str] = Counter()
    codes: dict[str, Counter[str]] = {}
    peak_bytes, slowest_s, leaks, changes = 0, 0.0, 0, 0
    for name, build in BUILDERS.items():
        kind = name.partition(":")[0]
        with tempfile.TemporaryDirectory(prefix="synthct-bench-") as place:
            source = Path(place) / "source"
            source.mkdir()
            (source.parent / "canary.raw").write_bytes((CANARY * 200).encode())
            path = build(source)
            before, started = _tree(source.parent), time.monotonic()
            try:
                read_scan(path, Modality.CT)
            except DataError as fault:
                refused[kind] += 1
                codes.setdefault(kind, Counter())[fault.code] += 1
                leaks += CANARY in str(fault)
            slowest_s = max(slowest_s, time.monotonic() - started)
            peak_bytes = max(peak_bytes, pool.last_peak_bytes)
            changes += _tree(source.parent) != before
    kinds = Counter(name.partition(":")[0] for name in BUILDERS)
    rows = "\n".join(
        f"| {kind} | {count} | {refused[kind]} | {_counts(codes[kind])} |"
        for kind, count in sorted(kinds.items())
    )
    return (
        "External data files, path traversal, links and devices, gzip, zip, deflate and chunk"
        " bombs, absurd sizes, sequences nested twenty thousand levels deep, lengths of 4 GB,"
        " headers that do not match the compressed data. Each is read in a process of its own, with"
        " limited memory and processor time, in which the kernel lets only the source be"
        " opened.\n\n"
        "| kind | files | refused | reported as |\n|---|---|---|---|\n"
        f"{rows}\n\n"
        f"{sum(refused.values())} of {len(BUILDERS)} were refused. The largest memory of a reader"
        f" was {peak_bytes / 1e6:.0f} MB, the longest time {slowest_s:.1f} s. {leaks} error"
        f" messages contained text of a file outside the source, {changes} files changed another"
        " file."
    )


def _counts(found: Counter[str]) -> str:
    return ", ".join(f"{code} {count}" for code, count in found.most_common())


def _tree(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): str(path.readlink())
        if path.is_symlink()
        else hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_symlink() or path.is_file()
    }
