"""Chooses one scan of each modality per patient: those that belong together.

A patient may have a planning CT and a longer diagnostic one, or scans of several days. A CT and a
source belong together by a common frame of reference, study, day or pattern of names
(``pre/ct`` and ``pre/mr``), in this order.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from synthct.tasks.ingestion.dataset import RawDataset
from synthct.tasks.ingestion.patient import CT
from synthct.tasks.intake.rows import ELSEWHERE, KNOWN, REFUSED, SECOND, PlannedScan

Shared = tuple[bool, bool, bool, bool]
"""Whether two scans share frame of reference, study, day, pattern of names."""

_NONE: Shared = (False, False, False, False)
_SHARED_NAMES = ("frame of reference", "study", "day", "pattern of names")


def decide(
    inspected: Sequence[PlannedScan], known: RawDataset
) -> tuple[list[PlannedScan], list[str]]:
    """Choose one scan of each modality per patient, and compare it with the data set.

    Returns the chosen and the refused scans, and notes on those that are skipped.
    """
    origins = {
        scan.origin: (name, key)
        for name, patient in known.patients.items()
        for key, scan in patient.scans.items()
    }
    decided = [scan for scan in inspected if scan.row.status == REFUSED]
    notes: list[str] = []
    for own in _by_patient(inspected).values():
        ordered = _preferred(own, origins)
        chosen = {scan.row.scan: scan for scan in reversed(ordered)}
        skipped = [scan for scan in ordered if chosen[scan.row.scan] is not scan]
        notes += [_skip_note(scan, chosen[scan.row.scan], chosen) for scan in skipped]
        notes += _two_visits(chosen)
        decided += [_compared(scan, origins, known) for scan in chosen.values()]
    return decided, notes


def _two_visits(chosen: dict[str, PlannedScan]) -> list[str]:
    """A note if the names of the CT and MR files state different days or sessions."""
    ct, mr = chosen.get(CT), chosen.get("mr")
    if ct is None or mr is None or "dicom" in (ct.candidate.format, mr.candidate.format):
        return []
    if not (ct.candidate.day and mr.candidate.day) or ct.candidate.day == mr.candidate.day:
        return []
    return [
        f"{mr.row.place}: the MR of {mr.row.patient} is of another day or visit than its CT "
        f"({ct.row.place}), and none is of the same; if they are no pair, take one of them out of "
        "the sources"
    ]


def _by_patient(inspected: Sequence[PlannedScan]) -> dict[str, list[PlannedScan]]:
    found: dict[str, list[PlannedScan]] = defaultdict(list)
    for scan in inspected:
        if scan.row.status != REFUSED:
            found[scan.row.patient].append(scan)
    return found


def _preferred(
    own: Sequence[PlannedScan], origins: dict[str, tuple[str, str]]
) -> list[PlannedScan]:
    """The scans of a patient: the CT to use, the sources that belong to it, then the others."""

    def rank(scan: PlannedScan, shared: tuple[Shared, ...]) -> tuple[object, ...]:
        there = origins.get(scan.origin) == (scan.row.patient, scan.row.scan)
        best = tuple(tuple(not part for part in one) for one in shared)
        listed, dicom = scan.candidate.listed, scan.candidate.format == "dicom"
        return (not listed, not there, best, not dicom, -scan.row.size[2], scan.row.place)

    planning = [scan for scan in own if scan.row.scan == CT]
    sources = [scan for scan in own if scan.row.scan != CT]
    ordered = sorted(planning, key=lambda ct: rank(ct, _best_shared(ct, sources)))
    first = ordered[:1]
    return [*ordered, *sorted(sources, key=lambda scan: rank(scan, _best_shared(scan, first)))]


def _best_shared(scan: PlannedScan, others: Sequence[PlannedScan]) -> tuple[Shared, ...]:
    """The most that it shares with one of the others (those that the manifest names, if any)."""
    listed = [one for one in others if one.candidate.listed] or others
    return (max((shared_context(scan, one) for one in listed), default=_NONE),)


def shared_context(one: PlannedScan, other: PlannedScan) -> Shared:
    """What two scans share; a value that is absent in either of them is not shared."""
    a, b = one.candidate, other.candidate
    return (
        bool(a.found.frame) and a.found.frame == b.found.frame,
        bool(a.found.study) and a.found.study == b.found.study,
        bool(a.day) and a.day == b.day,
        bool(a.group) and a.group == b.group,
    )


def _skip_note(scan: PlannedScan, first: PlannedScan, chosen: dict[str, PlannedScan]) -> str:
    if scan.origin == first.origin:
        relation, reason = "the same scan as", ""
    else:
        relation = "another scan than"
        reason = f"{_why(scan, first, chosen)}; a manifest can choose"
    return (
        f"{scan.row.place}: {relation} {first.row.place} "
        f"({first.row.scan} of {first.row.patient}), skipped{reason}"
    )


def _why(scan: PlannedScan, first: PlannedScan, chosen: dict[str, PlannedScan]) -> str:
    """What the chosen scan shares with its partner and the other does not."""
    for name, partner in chosen.items():
        if name == first.row.scan or CT not in (name, first.row.scan):
            continue
        both = zip(
            _SHARED_NAMES,
            shared_context(first, partner),
            shared_context(scan, partner),
            strict=True,
        )
        shared = [what for what, own, others in both if own and not others]
        if shared:
            return f" (that one shares the {shared[0]} with the {name})"
    return ""


def _compared(
    scan: PlannedScan, origins: dict[str, tuple[str, str]], known: RawDataset
) -> PlannedScan:
    row = scan.row
    there = origins.get(scan.origin)
    if there == (row.patient, row.scan):
        return replace(scan, row=replace(row, status=KNOWN))
    if there is not None:
        sentence = f"the same voxels are in the data set as {there[1]} of {there[0]}"
        finding = ELSEWHERE.found(sentence)
    elif row.patient in known.patients and row.scan in known.patients[row.patient].scans:
        sentence = f"{row.patient} has another {row.scan} in the data set"
        finding = SECOND.found(sentence)
    else:
        return scan
    return replace(scan, row=replace(row, status=REFUSED, findings=(*row.findings, finding)))
