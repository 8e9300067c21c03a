"""Ingestion: planted faults found, sound scans that raise no alarm."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks._clean_scans import ORDERS, clean_scans
from benchmarks._scan_faults import KINDS, Planted, sound_ct
from synthct.data.errors import DataError
from synthct.data.readers import read_scan
from synthct.data.volume import Volume
from synthct.tasks.ingestion.check import check_volume
from synthct.tasks.ingestion.findings import Severity
from synthct.tasks.ingestion.params import IngestionParams
from synthct.tasks.ingestion.patient import Checked, check_scan

SEEDS = 10
CLEAN = 200
SAME_MM = 1e-3

TRUE_OF_SOUND_SCANS = {"cut-body", "metal", "body-fills-box", "no-air", "empty-slices"}
"""Notes that a sound scan may earn: the phantoms' CBCT see a cylinder, some teeth hold metal."""


@dataclass(frozen=True, eq=False)
class Looked:
    """What ingestion said of a scan: codes, and the scan where it went on."""

    codes: set[str]
    checked: Checked | None = None


def look_at(planted: Planted, region: str) -> Looked:
    """Ingestion's own check of one scan."""
    try:
        checked = check_scan(planted.path, planted.modality, region, IngestionParams())
    except DataError as fault:
        return Looked({fault.code})
    return Looked({finding.code for finding in checked.findings}, checked)


def mended(planted: Planted, looked: Looked) -> bool:
    """Whether the scan that goes on is the true one: places within 1e-3 mm, values exactly."""
    truth, checked = planted.truth, looked.checked
    if truth is None or checked is None:
        return False
    there = read_scan(planted.path, planted.modality, require_finite=False)
    if not there.grid.is_close(truth.grid, SAME_MM):
        return False
    if checked.resampled:
        return bool(np.array_equal(there.array, truth.array))
    return bool(np.array_equal(checked.volume.array, truth.array))


def alarms(scans: Iterable[tuple[str, str, Volume]]) -> Iterator[str]:
    """Scan and finding, for each finding that a sound scan must not earn."""
    for name, region, volume in scans:
        for finding in check_volume(volume, region, IngestionParams()).findings:
            grave = finding.severity in (Severity.REJECT, Severity.QUARANTINE)
            if grave or finding.code not in TRUE_OF_SOUND_SCANS:
                yield f"{name}: {finding.code}, {finding.sentence}"


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
    told = f"{repaired} of {to_repair}" if to_repair else ""
    return found, ", ".join(f"`{code}`" for code, _ in codes.most_common()), told


def measure() -> str:
    """Table of kinds, and the count of alarms on sound scans."""
    rows, total = [], 0
    for name in sorted(KINDS):
        found, codes, told = _kind(name)
        total += found
        rows.append(f"| {name} | {found} of {SEEDS} | {codes} | {told} |")
    false = [alarm for order in ORDERS for alarm in alarms(clean_scans(CLEAN, order=order))]
    head = (
        f"{total} of {len(KINDS) * SEEDS} planted faults found ({len(KINDS)} kinds in {SEEDS} "
        f"digital patients each); {len(false)} alarms on {CLEAN} sound scans (CT, MR, CBCT; "
        f"whole heads, thoraces, abdomens), each as {', '.join(ORDERS)} slices: "
        f"{CLEAN * len(ORDERS)} in all. "
        f"A repaired scan has every voxel within {SAME_MM:g} mm of the truth and its exact value."
    )
    table = "| fault | found | named | repaired |\n|---|---|---|---|\n" + "\n".join(rows)
    return "\n\n".join([head, table, *false])
