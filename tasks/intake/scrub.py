"""Nothing that may name a person reaches a table, a log or a document.

Names of files and folders, texts of headers and UIDs are taken out of every sentence.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from synthct.data.errors import SynthctError
from synthct.data.readers import Found
from synthct.tasks.intake.sentences import values_in

_UID = re.compile(r"\b\d+(?:\.\d+){3,}\b")

_WORDS = """ct mr mri cbct scan scans image images series study dicom nifti data deep mask masks
dose axial head neck body chest abdomen pelvis thorax t1 t2 the and file files slice slices
one zip zips holds another"""
_ORDINARY = frozenset(_WORDS.split())
"""Words that name nobody: sentences of findings are made of them."""

_TELLING = (
    "PatientID", "PatientName", "PatientBirthDate", "StudyDate", "SeriesDescription",
    "ManufacturerModelName", "Manufacturer", "StudyInstanceUID", "SeriesInstanceUID",
    "FrameOfReferenceUID", "BodyPartExamined", "ScanOptions",
)  # fmt: skip


def secrets_of(found: Found) -> frozenset[str]:
    """Texts of a find that may name a person: its places, file names and header texts."""
    texts = [str(found.path), found.place, found.damaged_beside, *found.files]
    for keyword in _TELLING:
        value = found.header.get(keyword, "")
        texts += [value] if isinstance(value, str) else list(value)
    return frozenset(_parts(texts))


def _parts(texts: Iterable[str]) -> set[str]:
    parts: set[str] = set()
    for text in texts:
        parts.add(text)
        for piece in re.split(r"[/\\]", text):
            parts |= {piece, piece.rpartition(".")[0]}
            parts |= set(re.split(r"[\s^=_.,-]+", piece))
    return {one for one in parts if len(one) > 2 and one.lower() not in _ORDINARY}


def hidden(text: str, secrets: Iterable[str]) -> str:
    """The text with an ellipsis in place of every secret and every UID."""
    text = _UID.sub("…", text)
    longest_first = sorted(secrets, key=len, reverse=True)
    if not longest_first:
        return text
    pattern = re.compile("|".join(re.escape(one) for one in longest_first), re.IGNORECASE)
    return pattern.sub("…", text)


def told(fault: SynthctError, secrets: Iterable[str], *, values: bool = True) -> str:
    """What a fault says of a source, fit for a table: no place, nothing that may name a person.

    Our own words stay as they are. Without ``values`` only the rule is told: a structure's name may
    stand in what came.
    """
    secrets = list(secrets)
    rule = spoken(fault.rule, secrets)
    if not values:
        return rule
    problem, got = spoken(fault.problem, secrets), spoken(fault.got, secrets)
    told = f"{problem}; {rule}" if problem else rule
    return f"{told}, got {got}" if got else told


def spoken(text: str, secrets: Iterable[str]) -> str:
    """The text with secrets and UIDs hidden in what a sentence of ours was filled with."""
    places = values_in(text)
    if places is None:
        return hidden(text, secrets)
    secrets, parts, here = list(secrets), [], 0
    for start, end in places:
        parts += [text[here:start], hidden(text[start:end], secrets)]
        here = end
    return "".join([*parts, text[here:]])
