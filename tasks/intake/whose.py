"""Whose a DICOM series is: its patient number or, where that names nobody, what binds series.

An anonymised study often has one number for everybody (``ANONYMOUS``, ``0``). Then the series of
one study, or of one frame of reference, are one person's, and those that nothing binds are nobody's
until a person says so.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from synthct.data.readers import Found
from synthct.data.volume import Modality
from synthct.tasks.intake.words import words_of

_NOBODY = re.compile(
    r"(?i)(anon\w*|de-?identified|removed|redacted|unknown|none|null|nil|na|n/a|no_?(name|id)|empty"
    r"|patient|subject|test|research|study|dummy|default|confidential|hidden|private|x+|-+|\?+|0+)"
)
_LISTED = ("PatientID", "PatientName")

SCANS = frozenset({"scan"})


@dataclass(frozen=True)
class Whose:
    """Who a series is of.

    Parameters
    ----------
    text
        What the patient's pseudonym is made from; empty where nobody can tell.
    bound
        Whether it was found by study and frame of reference, the number naming nobody.
    """

    text: str
    bound: bool = False


def names_nobody(text: str) -> bool:
    """Whether a patient's number or name is a placeholder.

    >>> names_nobody("ANONYMOUS"), names_nobody("Anon^Patient"), names_nobody("ANON-0012")
    (True, True, False)
    """
    parts = [part for part in re.split(r"[\s^=_,.-]+", text.strip()) if part]
    return all(_NOBODY.fullmatch(part) for part in parts)


def said_identity(row: Found) -> str:
    """The patient's number, else name, where it names somebody."""
    for keyword in _LISTED:
        text = str(row.header.get(keyword) or "").strip()
        if text and not names_nobody(text):
            return text
    return ""


def whose_series(rows: Sequence[Found]) -> dict[tuple[str, str], Whose]:
    """Who each DICOM row (scan, structure set, dose) is of, by :func:`key_of`."""
    nameless = [row for row in rows if not said_identity(row)]
    found = {key_of(row): Whose(said_identity(row)) for row in rows if said_identity(row)}
    for group in _bound(nameless):
        text = _study(group)
        for row in group:
            found[key_of(row)] = Whose(text, bound=True)
    return found


def key_of(row: Found) -> tuple[str, str]:
    """Tells rows apart: the source and the series, or the file of one that has none."""
    return str(row.path), row.series or row.place


def _bound(rows: Sequence[Found]) -> list[list[Found]]:
    """The rows in groups that one study, frame of reference or patient's folder binds together."""
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
    """Series in ``P1/ct`` and ``P1/mr``: asked when all UIDs have been, hence a generator.

    A folder that holds the files of several series says nothing, nor does one below which there
    are CTs of several studies and frames.
    """
    crowd: dict[tuple[str, str], int] = defaultdict(int)
    for row in rows:
        if row.kind in SCANS:
            crowd[_home(row)] += 1
    beside: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for at, row in enumerate(rows):
        names = _folder_names(row)
        if names and crowd[_home(row)] <= 1:
            beside[names].append(at)
    for members in beside.values():
        ct = {groups.of(at) for at in members if rows[at].modality is Modality.CT}
        if len(ct) == 1:
            yield members


def _home(row: Found) -> tuple[str, str]:
    return str(row.path), str(PurePosixPath(row.files[0]).parent) if row.files else ""


def _folder_names(row: Found) -> tuple[str, ...]:
    """The patient's names among the folders of a series whose own folder names no patient."""
    inside = PurePosixPath(row.files[0]).parent.parts if row.files else ()
    folders = [*row.path.parts, *inside] if row.path.is_dir() else [*inside]
    if not folders or words_of(folders[-1]).whose:
        return ()
    names = [words_of(folder).whose for folder in folders[-3:]]
    return tuple(folders[:-3]) + tuple(name for name in names if name) if any(names) else ()


def _study(group: Sequence[Found]) -> str:
    """A text that stays the same when more series of the person come: the study of the CT."""
    scans = [row for row in group if row.kind in SCANS]
    first = [row for row in scans if row.modality is Modality.CT] or scans or list(group)
    return min((row.study or row.frame or row.series for row in first), default="")


def alone(rows: Mapping[tuple[str, str], Whose], scans: Sequence[Found]) -> set[str]:
    """Identities found by bonds whose scans make no pair, while others lack theirs: unknown."""
    kinds: dict[str, set[Modality | None]] = defaultdict(set)
    for row in scans:
        one = rows.get(key_of(row))
        if one is not None and one.bound:
            kinds[one.text].add(row.modality)
    single = {text for text, found in kinds.items() if len(found) == 1}
    left = {next(iter(kinds[text])) for text in single}
    sources = {Modality.MR, Modality.CBCT}
    return single if Modality.CT in left and left & sources else set()


class _Groups:
    """Which of ``count`` things are tied together (disjoint sets)."""

    def __init__(self, count: int) -> None:
        self._above = list(range(count))

    def of(self, one: int) -> int:
        """The group's representative."""
        while self._above[one] != one:
            one = self._above[one]
        return one

    def join(self, members: Iterable[int]) -> None:
        """Tie them all together."""
        tops = [self.of(one) for one in members]
        for top in tops[1:]:
            self._above[self.of(top)] = self.of(tops[0])

    def all(self) -> list[list[int]]:
        """Members by group, in their order."""
        groups: dict[int, list[int]] = defaultdict(list)
        for one in range(len(self._above)):
            groups[self.of(one)].append(one)
        return list(groups.values())
