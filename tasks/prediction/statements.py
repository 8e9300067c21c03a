"""Statements in a prediction: its origin, clinical caution, and coverage of its intervals."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from synthct.data.files import content_hash
from synthct.data.volume import Modality
from synthct.tasks.pipeline.artefacts import CHECKSUMS
from synthct.tasks.prediction.intervals import Calibration
from synthct.tasks.prediction.options import PredictOptions
from synthct.tasks.prediction.release import Release
from synthct.tasks.prediction.series import NOT_FOR_CLINICAL_USE

SOURCES = {"mr": Modality.MR, "cbct": Modality.CBCT}
"""Modality of each source."""


def interval_notes(
    intervals: Calibration | None, unlike: Mapping[str, Any], options: PredictOptions
) -> list[str]:
    """Nominal coverage of the intervals, and reasons why it may not hold for this scan."""
    if intervals is None:
        return []
    notes = [intervals.sentence]
    if unlike:
        notes.append("the scan is unlike those of the calibration: its coverage is not known")
    if options.int8 or options.student or options.form or options.surest is not None:
        notes.append("the intervals were calibrated with the release's own networks, not these")
    if options.harmonise:
        notes.append("the intervals were calibrated on scans that were not harmonised")
    return notes


def caution(release: Release) -> str:
    """The caution, unless the release's card has it empty; a card without the entry is old."""
    return NOT_FOR_CLINICAL_USE if release.card.get("not_for_clinical_use", "unsaid") else ""


def derivation(release: Release, count: int) -> str:
    """Source modality, networks and release of the voxels, for ``DerivationDescription``."""
    source = release.description.source
    return (
        f"Synthetic CT from {SOURCES[source]} by synthct, mean of {count} networks, release "
        f"{release_id(release.folder)}. {caution(release)}"
    ).strip()


def release_id(folder: Path) -> str:
    """First sixteen digits of the hash of the release's checksums."""
    return content_hash(folder / CHECKSUMS)[:16]


def uid_seed(
    scan: Path, series: str, mask: Path | None, model: Path, options: PredictOptions
) -> str:
    """Seed of the UIDs, from everything that determines the voxels.

    Repeating a prediction gives the same UIDs. Two series of one folder, or one scan predicted with
    different options, give different ones.
    """
    files = (scan, model / CHECKSUMS, *([mask] if mask else []))
    ways: tuple[object, ...] = (
        options.tta,
        options.overlap,
        options.int8,
        options.student,
        options.surest,
    )
    for way in (options.form, options.harmonise):
        if way:
            ways = (*ways, way)
    parts = [*(content_hash(file) for file in files), series, *(str(way) for way in ways)]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
