"""Assigns each structure of a set to the scan on which it was drawn.

A set may have structures in several frames of reference (DICOM PS3.3 C.8.8.5). Each is assigned to
the scan of its own frame, or left out with a note: coordinates of another frame look plausible.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from synthct.data.readers.contours import DrawnOn
from synthct.data.readers.header_facts import grid_json
from synthct.data.readers.process import call
from synthct.tasks.ingestion.findings import Code, Finding, Severity
from synthct.tasks.intake.scan_index import (
    BY_MANIFEST,
    CT,
    SCAN_ABSENT,
    Fitted,
    IndexedScan,
    NoOutlines,
    Refused,
    ScanIndex,
    scan_by_manifest,
)
from synthct.tasks.intake.source_items import Attachment
from synthct.tasks.intake.structures import inspect_structures, references_of

OTHER_PERSON = Code(
    "structures-of-another",
    Severity.REJECT,
    "structures reference a series of a patient with another patient ID",
    "check the patient ID, or name the scan's patient in a manifest",
)
NO_STRUCTURE = Code(
    "no-structure-drawn",
    Severity.REJECT,
    "no structure of the set has closed contours within its scan",
    "give the series that the structures were drawn on",
)
BY_FRAME = Code(
    "structures-by-frame",
    Severity.NOTE,
    "the referenced series is absent: drawn on a scan with the same frame of reference",
)
DRAWN = Code("structures-drawn", Severity.NOTE, "structures of a set, as masks on their scan")
LEFT_OUT = Code(
    "structures-left-out",
    Severity.NOTE,
    "structures that are outside their scan, damaged, or drawn on a scan that is absent",
)

CROSSED = Code(
    "contours-cross",
    Severity.NOTE,
    "contours of one slice that cross each other: they are joined, as the standard does not say "
    "whether their overlap belongs to the structure",
    "check the structure",
)

DRAWING_S = 4.0
"""CPU time limit of drawing and writing one structure."""

SHOWN = 6
"""Most structures named in a finding."""

OTHER_FRAME, CONTRADICTS, ABSENT = "other-frame", "contradicts-itself", "scan-absent"
"""Reasons why a structure is not drawn on any scan."""

WITHOUT_OUTLINES = frozenset({"contour-type", "no-contours"})
"""Reasons of the reader for structures without a closed contour."""


def fit_structures(attachment: Attachment, index: ScanIndex) -> Iterator[Fitted]:
    """The structures of a set by the scans on which they were drawn.

    Raises
    ------
    Refused
        ``structures-of-another``, ``no-structure-drawn`` or ``scan-absent``.
    NoOutlines
        There is nothing to draw: isocentres and other marks.
    """
    path = attachment.file
    references = call(references_of, reads=[path], path=str(path), uid=attachment.series)
    places = [_hashed(DrawnOn.from_json(one), index) for one in references["drawn_on"]]
    _require_own(attachment, index, places)
    scan_of = {number: _scan_of(one, attachment, index) for number, one in enumerate(places)}
    by_manifest = scan_by_manifest(attachment, index)
    groups: dict[tuple[str, str], list[int]] = defaultdict(list)
    found: dict[tuple[str, str], IndexedScan] = {}
    left = dict(references["unfit"])
    for number, scan in scan_of.items():
        if scan is None and not places[number].contradicts:
            scan = by_manifest
        if scan is None:
            left[references["names"][number]] = _why(places[number], index)
            continue
        key = (scan.patient, scan.name)
        groups[key].append(number)
        found[key] = scan
    if not references["count"] and left and set(left.values()) <= WITHOUT_OUTLINES:
        raise NoOutlines(len(left))
    if not groups:
        raise Refused(_no_scan(references, left))
    drawn = [one for key, numbers in groups.items()
             if (one := _drawn(attachment, found[key], numbers, places, left))]  # fmt: skip
    if not drawn:
        count = references["count"]
        raise Refused(NO_STRUCTURE.found(f"none of {count} structures could be drawn"))
    left_out = [LEFT_OUT.found(f"left out: {', '.join(f'{n} ({c})' for n, c in left.items())}")]
    yield replace(drawn[0], findings=(*drawn[0].findings, *(left_out if left else [])))
    yield from drawn[1:]


def _no_scan(references: dict[str, Any], left: dict[str, str]) -> Finding:
    reasons = set(left.values())
    if reasons and reasons <= {CONTRADICTS}:
        return NO_STRUCTURE.found("each structure has one frame of reference, its images another")
    if not references["count"]:
        return NO_STRUCTURE.found(f"none of {len(left)} structures could be drawn")
    return SCAN_ABSENT.found("the referenced series is neither in sources nor data set, or refused")


def _drawn(
    attachment: Attachment, scan: IndexedScan, numbers: Sequence[int], places: Sequence[DrawnOn],
    left: dict[str, str],
) -> Fitted | None:  # fmt: skip
    """Draw structures on one scan; those that cannot be drawn are added to ``left``."""
    seen = call(inspect_structures, reads=[attachment.file], more_cpu_s=DRAWING_S * len(numbers),
                path=str(attachment.file), uid=attachment.series, grid=grid_json(scan.grid),
                only=list(numbers))  # fmt: skip
    left.update(seen["unfit"])
    if not seen["volumes_cm3"]:
        return None
    parts = [f"{name} {cm3:.3g} cm3" for name, cm3 in seen["volumes_cm3"].items()]
    more = f" and {len(parts) - SHOWN} more" if len(parts) > SHOWN else ""
    findings = [DRAWN.found(f"on the {scan.name}: {', '.join(parts[:SHOWN])}{more}")]
    if seen["crossed"]:
        slices = ", ".join(f"{name} in {count}" for name, count in seen["crossed"].items())
        findings.append(CROSSED.found(f"contours that cross, by slices: {slices}"))
    firm = {places[number].lies_on(scan.frame, scan.series) for number in numbers}
    if not firm <= {True}:
        findings.append(BY_MANIFEST.found(f"drawn on the {scan.name} by the manifest"))
    elif any(scan.series not in places[number].series_uids for number in numbers):
        findings.append(BY_FRAME.found("the referenced series is absent; same frame of reference"))
    return Fitted(scan, scan.grid, seen["digest"], tuple(findings), count=len(parts),
                  only=tuple(numbers))  # fmt: skip


def _hashed(place: DrawnOn, index: ScanIndex) -> DrawnOn:
    """The reference with the UIDs of the de-identified copies."""
    frame = index.names.uid(place.frame_uid) if place.frame_uid else ""
    series = tuple(index.names.uid(uid) for uid in place.series_uids)
    return replace(place, frame_uid=frame, series_uids=series)


def _require_own(attachment: Attachment, index: ScanIndex, places: Sequence[DrawnOn]) -> None:
    if attachment.listed:
        return
    named = {uid for place in places for uid in place.series_uids}
    for scan in index.current():
        if scan.series in named and scan.identity not in ("", attachment.identity):
            raise Refused(OTHER_PERSON.found("the referenced series has another patient ID"))


def _scan_of(place: DrawnOn, attachment: Attachment, index: ScanIndex) -> IndexedScan | None:
    """The scan of the series that the structure references, else one with its frame."""
    own = index.of_patient(index.names.patient(attachment.identity))
    own += [scan for scan in index.current() if scan.series in place.series_uids]
    fits = [scan for scan in own if place.lies_on(scan.frame, scan.series)]
    named = [scan for scan in fits if scan.series and scan.series in place.series_uids]
    if named:
        return named[0]
    if any(index.is_refused(uid) for uid in place.series_uids):
        return None
    planning = [scan for scan in fits if scan.name == CT]
    return (planning or fits)[0] if planning or len(fits) == 1 else None


def _why(place: DrawnOn, index: ScanIndex) -> str:
    if place.contradicts:
        return CONTRADICTS
    here = {scan.series for scan in index.current()} & set(place.series_uids)
    return OTHER_FRAME if here else ABSENT
