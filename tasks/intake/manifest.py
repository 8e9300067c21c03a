"""The manifest: a CSV that decides what file names and folders cannot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from synthct.data.errors import UsageError
from synthct.data.tables import read_table
from synthct.data.volume import Modality

COLUMNS = ("path", "patient", "modality", "region")

_MODALITIES = (Modality.CT, Modality.MR, Modality.CBCT, Modality.MASK)


@dataclass(frozen=True)
class ManifestRow:
    """What a person says about one scan; empty fields leave the question to the scan."""

    path: Path
    patient: str = ""
    modality: Modality | None = None
    region: str = ""
    listed: bool = False
    """Whether the manifest names the scan: then it goes before others of its patient."""


def read_manifest(path: Path) -> dict[Path, ManifestRow]:
    """Rows by resolved path; paths are relative to the manifest's folder."""
    try:
        table = read_table(path)
    except FileNotFoundError as error:
        raise UsageError("the manifest exists", where=str(path), code="manifest-missing") from error
    if not table or set(COLUMNS) - set(table[0]):
        raise UsageError(
            f"a manifest is a CSV with the columns {', '.join(COLUMNS)}",
            where=str(path),
            got=", ".join(table[0]) if table else "no rows",
            remedy="add the header line",
            code="manifest-columns",
        )
    rows = [_row(entry, path) for entry in table]
    return {row.path.resolve(): row for row in rows}


def _row(entry: Mapping[str, str], manifest: Path) -> ManifestRow:
    scan = manifest.parent / entry["path"].strip()
    if not scan.exists():
        raise UsageError(
            "every path in the manifest exists",
            where=f"{manifest}: {entry['path']}",
            remedy="paths are relative to the manifest's folder",
            code="manifest-path",
        )
    modality = entry["modality"].strip().upper()
    if modality and modality not in _MODALITIES:
        raise UsageError(
            "a manifest's modality is CT, MR, CBCT or MASK (of the body)",
            where=f"{manifest}: {entry['path']}",
            got=modality,
            remedy="leave it empty for DICOM",
            code="manifest-modality",
        )
    return ManifestRow(
        scan,
        entry["patient"].strip(),
        Modality(modality) if modality else None,
        entry["region"].strip(),
        listed=True,
    )
