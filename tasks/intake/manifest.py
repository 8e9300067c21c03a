"""The manifest: a CSV that states patients and modalities which headers and names do not.

It is edited in spreadsheets: a byte-order mark, semicolons or tabs as separators, another case of
the headings, further columns and empty lines are accepted.
"""

from __future__ import annotations

import csv
import io
import os
import unicodedata
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from synthct.data.errors import UsageError, did_you_mean, nearest
from synthct.data.files import create_private
from synthct.data.section import REGIONS
from synthct.data.volume import Modality
from synthct.tasks.intake.words import readable

COLUMNS = ("path", "patient", "modality", "region")

_ABOUT = "about"
"""Last column of a manifest template, for the user; ignored on reading."""

_MODALITIES = (Modality.CT, Modality.MR, Modality.CBCT, Modality.MASK)


@dataclass(frozen=True)
class ManifestRow:
    """A line of the manifest; empty fields are determined from the scan."""

    path: Path
    patient: str = ""
    modality: Modality | None = None
    region: str = ""
    listed: bool = False
    """Whether the manifest names the scan: it is then preferred to others of its patient."""


@dataclass(frozen=True)
class ToFillIn:
    """A line of a manifest template; ``about`` describes the scan and the open question."""

    path: Path
    patient: str
    modality: str
    region: str
    about: str


def read_manifest(path: Path) -> dict[Path, ManifestRow]:
    """Read a manifest; rows by resolved path. Paths are relative to the manifest's folder.

    Raises
    ------
    UsageError
        ``manifest-missing``, ``manifest-columns``, ``manifest-twice``, ``manifest-modality``,
        ``manifest-region`` or ``manifest-path``.
    """
    table = _table(path)
    if not table or set(COLUMNS) - set(table[0]):
        found = ", ".join(table[0]) if table else "no rows"
        raise UsageError(
            f"the manifest has {'the columns ' if table else ''}{found}",
            rule=f"a manifest is a CSV with the columns {', '.join(COLUMNS)}",
            where=str(path),
            remedy="add the header line",
            code="manifest-columns",
        )
    rows: dict[Path, ManifestRow] = {}
    for entry in table:
        row = _row(entry, path)
        if rows.setdefault(row.path.resolve(), row) != row:
            raise UsageError(
                "two lines of the manifest contradict each other on one path",
                rule="a manifest names a path once",
                where=f"{path}: {entry['path']}",
                remedy="remove one of them",
                code="manifest-twice",
            )
    return rows


def write_manifest(path: Path, rows: Iterable[ToFillIn]) -> None:
    """Write a manifest template that only its owner can read: paths and IDs identify people.

    Raises
    ------
    UsageError
        ``manifest-there``: the file exists.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*COLUMNS, _ABOUT])
    here = path.parent.resolve()
    for row in sorted(rows, key=lambda one: str(one.path)):
        place = row.path.resolve()
        near = place.relative_to(here) if place.is_relative_to(here) else place
        writer.writerow([str(near), row.patient, row.modality, row.region, row.about])
    try:
        create_private(path, text.getvalue().encode(errors="surrogateescape"))
    except FileExistsError as error:
        raise UsageError(
            "the file exists already and may be filled in",
            rule="a manifest is written to a new file",
            where=str(path),
            remedy="name another file, or remove it",
            code="manifest-there",
        ) from error


def _table(path: Path) -> list[dict[str, str]]:
    """The lines that are not empty, by lower-case column name."""
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise UsageError(
            "there is no manifest",
            where=str(path),
            remedy="check the path",
            code="manifest-missing",
        ) from error
    lines = _text(data).splitlines()
    if lines and lines[0].lower().startswith("sep="):  # what Excel writes for itself
        del lines[0]
    header = lines[0] if lines else ""
    between = max(",;\t", key=header.count)
    rows = csv.DictReader(lines, delimiter=between, restkey="", restval="")
    return [
        {
            name: value.strip() if name == "path" else readable(value.strip())
            for key, value in row.items()
            if (name := key.strip().lower())
        }
        for row in rows
        if any(value.strip() for key, value in row.items() if key and value)
    ]


def _text(data: bytes) -> str:
    """UTF-16 by its byte-order mark, else UTF-8; bytes that are not UTF-8 are kept as they are."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", errors="replace")
    return data.decode("utf-8-sig", errors="surrogateescape")


def _row(entry: Mapping[str, str], manifest: Path) -> ManifestRow:
    modality = entry["modality"].upper()
    if modality and modality not in _MODALITIES:
        raise UsageError(
            f"the modality is {modality!r}",
            rule="a manifest's modality is CT, MR, CBCT or MASK (of the body)",
            where=f"{manifest}: {entry['path']}",
            remedy="leave it empty for DICOM",
            code="manifest-modality",
        )
    region = entry["region"].lower()
    if region and region not in REGIONS:
        raise UsageError(
            f"the region is {entry['region']!r}",
            rule=f"a manifest's region is {', '.join(REGIONS)}, or empty",
            where=f"{manifest}: {entry['path']}",
            remedy=did_you_mean(region, REGIONS) if nearest(region, REGIONS) else "use `other`",
            code="manifest-region",
        )
    return ManifestRow(
        _place(entry["path"], manifest),
        entry["patient"],
        Modality(modality) if modality else None,
        region,
        listed=True,
    )


def _place(written: str, manifest: Path) -> Path:
    """The path in the Unicode form that exists on this disk; one inside a zip is not checked.

    A spreadsheet on Windows may have written it with backslashes or in code page 1252. The name on
    the disk need not be UTF-8 either.
    """
    said = (written, readable(written), os.fsdecode(written.encode("cp1252", "backslashreplace")))
    ways = dict.fromkeys(way for one in said for way in (one, one.replace("\\", "/")))
    spellings = [way for one in ways for way in (one, *_in_forms(one))]
    for place in (manifest.parent / way for way in spellings):
        above = [one for one in place.parents if one.is_file()]
        if written and (place.exists() or (above and zipfile.is_zipfile(above[0]))):
            return place
    raise UsageError(
        "a path of the manifest does not exist" if written else "a line has no path",
        rule="every path in the manifest exists",
        where=f"{manifest}: {written}",
        remedy="paths are relative to the manifest's folder",
        code="manifest-path",
    )


def _in_forms(written: str) -> list[str]:
    return [unicodedata.normalize(form, written) for form in _FORMS]


_FORMS: tuple[Literal["NFC", "NFD"], ...] = ("NFC", "NFD")
"""Composed and decomposed characters: macOS decomposes umlauts, other systems do not."""
