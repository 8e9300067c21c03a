"""The same image under two patients' names, among all that was ingested."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from synthct.data.errors import DataError
from synthct.data.store.volumes import read_volume
from synthct.tasks.ingestion.findings import Code, Severity
from synthct.tasks.ingestion.fingerprint import ALIKE, SAME, likeness, same_image

NEAR_DUPLICATE = Code(
    "near-duplicate",
    Severity.QUARANTINE,
    "two patients have the same image, saved or resampled anew: it would be trained and tested on",
    "keep one of the two; list the scan in ingestion.released if they are two people",
)


def twins(
    out: Path, facts: Sequence[Mapping[str, Any]], released: Sequence[str]
) -> dict[str, DataError]:
    """The later patient of each pair that shares an image, with the reason.

    Parameters
    ----------
    out
        Folder with the patients' stored volumes.
    facts
        ``patient.json`` of each.
    released
        ``PATIENT/SCAN`` that a person has looked at.
    """
    found: dict[str, DataError] = {}
    scans = [
        (patient["patient"], name, entry["modality"], entry["fingerprint"])
        for patient in sorted(facts, key=lambda one: str(one["patient"]))
        for name, entry in sorted(patient["scans"].items())
    ]
    for one, other in combinations(scans, 2):
        if one[0] == other[0] or one[2] != other[2] or f"{other[0]}/{other[1]}" in released:
            continue
        if other[0] in found or one[0] in found or likeness(one[3], other[3]) < ALIKE:
            continue
        first, second = (read_volume(out / p / f"{n}.zarr") for p, n, _, _ in (one, other))
        if (alike := same_image(first, second)) >= SAME:
            found[other[0]] = DataError(
                "each image belongs to one patient (quarantine)",
                where=f"{other[0]}/{other[1]}",
                got=f"the image of {one[0]}/{one[1]} (details correlate by {alike:.2f})",
                remedy=NEAR_DUPLICATE.remedy,
                code=NEAR_DUPLICATE.name,
            )
    return found
