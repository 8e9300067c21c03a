"""Redaction: texts that may identify a person do not reach tables, logs or documents.

Names of files and folders, header texts and UIDs are removed from every sentence.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from synthct.data.errors import SynthctError
from synthct.data.readers import Found
from synthct.tasks.intake.sentences import values_in

_UID = re.compile(r"\b\d+(?:\.\d+){3,}\b")

_WORDS = """ct mr mri cbct scan scans image images series study dicom nifti data deep mask masks
dose axial head neck body chest abdomen pelvis thorax t1 t2 the and file files slice slices
one zip zips holds another"""
_ORDINARY = frozenset(_WORDS.split())
"""Words that identify nobody: sentences of findings contain them."""

_IDENTIFYING = (
    "PatientID", "PatientName", "PatientBirthDate", "StudyDate", "SeriesDescription",
    "ManufacturerModelName", "Manufacturer", "StudyInstanceUID", "SeriesInstanceUID",
    "FrameOfReferenceUID", "BodyPartExamined", "ScanOptions",
)  # fmt: skip


def secrets_of(found: Found) -> frozenset[str]:
    """Texts of an item that may identify a person: its paths, file names and header texts."""
    texts = [str(found.path), found.place, found.damaged_beside, *found.files]
    for keyword in _IDENTIFYING:
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


def redact(text: str, secrets: Iterable[str]) -> str:
    """The text with an ellipsis in place of every secret and every UID."""
    text = _UID.sub("…", text)
    longest_first = sorted(secrets, key=len, reverse=True)
    if not longest_first:
        return text
    pattern = re.compile("|".join(re.escape(one) for one in longest_first), re.IGNORECASE)
    return pattern.sub("…", text)


def redacted_message(error: SynthctError, secrets: Iterable[str], *, values: bool = True) -> str:
    """Problem and rule of an error without its place and without texts that identify a person.

    Parameters
    ----------
    error
        Error on a file of the sources.
    secrets
        Texts to remove.
    values
        Keep values that are not secret. Without them only the rule is returned, or the problem
        without any value: a structure's name may be among the values.
    """
    secrets = list(secrets)
    rule = redact_values(error.rule, secrets)
    if not values:
        return rule or _without_values(error.problem) or error.code
    return "; ".join(part for part in (redact_values(error.problem, secrets), rule) if part)


def redact_values(text: str, secrets: Iterable[str]) -> str:
    """The text with secrets and UIDs removed from the values in a message of this package."""
    known = list(secrets)
    replaced = _replace_values(text, lambda value: redact(value, known))
    return redact(text, known) if replaced is None else replaced


def _without_values(text: str) -> str:
    """The text with an ellipsis for each value; empty if it is not a message of this package."""
    return _replace_values(text, lambda _: "…") or ""


def _replace_values(text: str, replace: Callable[[str], str]) -> str | None:
    """The text with each value replaced; None if it is not a message of this package."""
    places = values_in(text)
    if places is None:
        return None
    parts, here = [], 0
    for start, end in places:
        parts += [text[here:start], replace(text[start:end])]
        here = end
    return "".join([*parts, text[here:]])
