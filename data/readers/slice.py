"""One slice of a DICOM series, and the fault of a file that is not whole DICOM."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydicom.dataset import Dataset

from synthct.data.errors import DataError
from synthct.data.readers.entries import Entry


@dataclass(frozen=True, eq=False)
class Slice:
    """One file of a series, or one frame of it: where it is and its header (without pixels)."""

    entry: Entry
    header: Dataset
    offset: int = 0
    """Where the pixel element starts in the file."""
    frame: int = 0
    """Which frame of a multi-frame file this is, from 0."""


def value(header: Dataset, keyword: str, entry: Entry) -> Any:
    """A value that must be there and not empty."""
    found = header.get(keyword)
    if found is None or found == "":
        raise broken_dicom(entry, f"no {keyword}", "missing-tag")
    return found


def broken_dicom(entry: Entry, got: str, code: str = "damaged") -> DataError:
    """The fault of a file that is not whole DICOM."""
    return DataError(
        "a DICOM file is whole and has the values its image needs",
        where=str(entry.path or entry.name),
        got=got,
        remedy="send the series again from its source",
        code=code,
    )
