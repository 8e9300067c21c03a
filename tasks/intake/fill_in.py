"""A manifest of everything that was found, for a person to fill in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from synthct.data.readers import Found
from synthct.tasks.intake.attachment_files import MASK
from synthct.tasks.intake.manifest import ToFillIn
from synthct.tasks.intake.passed import Passed
from synthct.tasks.intake.rows import REFUSED, IntakeRow, PlannedAttachment, PlannedScan
from synthct.tasks.intake.search import first_place


def rows_to_fill_in(
    scans: Sequence[PlannedScan], extras: Sequence[PlannedAttachment], passed: Sequence[Passed]
) -> Iterator[ToFillIn]:
    """A row a scan, with what is known of it; what no row can decide is left out."""
    crowd = Counter(_folder(scan.candidate.found) for scan in scans)
    for scan in scans:
        one, row = scan.candidate, scan.row
        alone = crowd[_folder(one.found)] == 1
        place = _folder(one.found) if alone else first_place(one.found)
        yield ToFillIn(place, one.identity, row.modality, row.region, _asked(row))
    seen: set[Path] = set()
    for extra in extras:
        place = first_place(extra.extra.found)
        if place not in seen:
            seen.add(place)
            modality = "MASK" if extra.extra.kind == MASK else ""
            whose = extra.extra.identity
            yield ToFillIn(place, whose, modality, extra.row.region, _asked(extra.row))
    for other in passed:
        if other.path is not None:
            yield ToFillIn(other.path, "", "", "", f"{other.label}: {other.reason}")


def _folder(found: Found) -> Path:
    """The folder of a series, the file of an image."""
    place = first_place(found)
    return place.parent if found.format == "dicom" else place


def _asked(row: IntakeRow) -> str:
    reason = row.findings[-1].sentence if row.status == REFUSED and row.findings else ""
    return f"{row.place}: {reason}" if reason else row.place
