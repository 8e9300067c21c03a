"""The patient of a DICOM series: its patient ID or, if that is a placeholder, its group of series.

An anonymised study often has one ID for all patients (``ANONYMOUS``, ``0``). Then the series of
one study, or of one frame of reference, belong to one patient, and the patient of a series without
such a group is unknown until a manifest names it. So is that of a group with several pairs of CT
and source that its frames, studies, days, folders or archives set apart: programs that remove the
ID may also give all patients one study or frame.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from synthct.data.readers import Found
from synthct.data.volume import Modality
from synthct.tasks.intake.layout import SOURCES
from synthct.tasks.intake.words import words_of

_NOBODY = re.compile(
    r"(?i)(anon\w*|de-?identified|removed|redacted|unknown|none|null|nil|na|n/a|no_?(name|id)|empty"
    r"|patient|subject|test|research|study|dummy|default|confidential|hidden|private|x+|-+|\?+|0+)"
)
_LISTED = ("PatientID", "PatientName")

SCANS = frozenset({"scan"})

NOBODY = "the patient ID is a placeholder, and no common UID or folder links a CT to its source"
SEVERAL = (
    "the patient ID is a placeholder, and scans with common UIDs form several pairs that may be of "
    "different patients"
)


@dataclass(frozen=True)
class Identity:
    """The patient of a series.

    Parameters
    ----------
    text
        Text from which the pseudonym is derived; empty if the patient is unknown.
    bound
        Whether it was found by study and frame of reference because the ID is a placeholder.
    unclear
        Why the patient is unknown.
    """

    text: str
    bound: bool = False
    unclear: str = ""


def names_nobody(text: str) -> bool:
    """Whether a patient ID or name is a placeholder.

    >>> names_nobody("ANONYMOUS"), names_nobody("Anon^Patient"), names_nobody("ANON-0012")
    (True, True, False)
    """
    parts = [part for part in re.split(r"[\s^=_,.-]+", text.strip()) if part]
    return all(_NOBODY.fullmatch(part) for part in parts)


def header_identity(row: Found) -> str:
    """PatientID, else PatientName, if it is not a placeholder; else empty."""
    for keyword in _LISTED:
        text = str(row.header.get(keyword) or "").strip()
        if text and not names_nobody(text):
            return text
    return ""


def series_identities(rows: Sequence[Found]) -> dict[tuple[str, str], Identity]:
    """The patient of each DICOM row (scan, structure set, dose), by :func:`key_of`."""
    nameless = [row for row in rows if not header_identity(row)]
    found = {key_of(row): Identity(header_identity(row)) for row in rows if header_identity(row)}
    for group in _bound(nameless):
        several = _has_several_pairs(group)
        one = Identity("", True, SEVERAL) if several else Identity(_study(group), bound=True)
        for row in group:
            found[key_of(row)] = one
    return found


def key_of(row: Found) -> tuple[str, str]:
    """Key of a row: the source, and the series or, without one, the file."""
    return str(row.path), row.series or row.place


def _bound(rows: Sequence[Found]) -> list[list[Found]]:
    """The rows in groups with a common study, frame of reference or patient's folder."""
    groups = _Groups(len(rows))
    for links in (_by_uid(rows), _by_folder(rows, groups)):
        for members in links:
            groups.join(members)
    return [[rows[at] for at in members] for members in groups.all()]


def _by_uid(rows: Sequence[Found]) -> Iterable[list[int]]:
    ties: dict[tuple[str, str], list[int]] = defaultdict(list)
    for at, row in enumerate(rows):
        placed = ("study", row.study), ("frame", row.frame), ("series", row.series)
        for kind, uid in placed:
            if uid:
                ties[kind, uid].append(at)
    return ties.values()


def _by_folder(rows: Sequence[Found], groups: _Groups) -> Iterable[list[int]]:
    """Series in ``P1/ct`` and ``P1/mr``: a generator, which runs after the groups by UIDs are made.

    A folder with the files of several series is no evidence, nor is one that contains CTs of
    several studies and frames.
    """
    crowd: dict[tuple[str, str], int] = defaultdict(int)
    for row in rows:
        if row.kind in SCANS:
            crowd[_folder_of(row)] += 1
    beside: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for at, row in enumerate(rows):
        names = _folder_names(row)
        if names and crowd[_folder_of(row)] <= 1:
            beside[names].append(at)
    for members in beside.values():
        ct = {groups.of(at) for at in members if rows[at].modality is Modality.CT}
        if len(ct) == 1:
            yield members


def _folder_of(row: Found) -> tuple[str, str]:
    return str(row.path), str(PurePosixPath(row.files[0]).parent) if row.files else ""


def _folder_names(row: Found) -> tuple[str, ...]:
    """The folder names of a patient above a series whose own folder names no patient."""
    inside = PurePosixPath(row.files[0]).parent.parts if row.files else ()
    folders = [*row.path.parts, *inside] if row.path.is_dir() else [*inside]
    if not folders or words_of(folders[-1]).patient:
        return ()
    names = [words_of(folder).patient for folder in folders[-3:]]
    return tuple(folders[:-3]) + tuple(name for name in names if name) if any(names) else ()


def _has_several_pairs(group: Sequence[Found]) -> bool:
    """Whether frames, studies, days, folders or archives divide a group into several pairs."""
    scans = [row for row in group if row.kind in SCANS]
    for part in (_frame_of, _study_of, _day_of, _folder_names, _own_name, _archive_of):
        kinds: dict[object, set[Modality | None]] = defaultdict(set)
        for row in scans:
            if part(row):
                kinds[part(row)].add(row.modality)
        if sum(Modality.CT in found and bool(found & SOURCES) for found in kinds.values()) > 1:
            return True
    return False


def _frame_of(row: Found) -> str:
    return row.frame


def _study_of(row: Found) -> str:
    return row.study


def _day_of(row: Found) -> str:
    return str(row.header.get("StudyDate") or "")


def _own_name(row: Found) -> str:
    """The patient that the folder of the series itself names (``p1ct``); may be empty."""
    inside = PurePosixPath(row.files[0]).parent.parts if row.files else ()
    return words_of(inside[-1]).patient.lower() if inside else ""


def _archive_of(row: Found) -> str:
    """The archive that the series lies in; empty for a series in a folder."""
    return "" if row.path.is_dir() else str(row.path)


def _study(group: Sequence[Found]) -> str:
    """A text that stays the same when more series of the patient are added: the CT's study."""
    scans = [row for row in group if row.kind in SCANS]
    first = [row for row in scans if row.modality is Modality.CT] or scans or list(group)
    return min((row.study or row.frame or row.series for row in first), default="")


def alone(rows: Mapping[tuple[str, str], Identity], scans: Sequence[Found]) -> set[str]:
    """Identities by group whose scans form no pair while other scans lack a partner: unknown."""
    kinds: dict[str, set[Modality | None]] = defaultdict(set)
    for row in scans:
        one = rows.get(key_of(row))
        if one is not None and one.bound and one.text:
            kinds[one.text].add(row.modality)
    single = {text for text, found in kinds.items() if len(found) == 1}
    left = {next(iter(kinds[text])) for text in single}
    return single if Modality.CT in left and left & SOURCES else set()


class _Groups:
    """Disjoint sets of the numbers below ``count``."""

    def __init__(self, count: int) -> None:
        self._above = list(range(count))

    def of(self, one: int) -> int:
        """Representative of the number's set."""
        while self._above[one] != one:
            one = self._above[one]
        return one

    def join(self, members: Iterable[int]) -> None:
        """Unite the sets of the members."""
        tops = [self.of(one) for one in members]
        for top in tops[1:]:
            self._above[self.of(top)] = self.of(tops[0])

    def all(self) -> list[list[int]]:
        """The members of each set, in ascending order."""
        groups: dict[int, list[int]] = defaultdict(list)
        for one in range(len(self._above)):
            groups[self.of(one)].append(one)
        return list(groups.values())
