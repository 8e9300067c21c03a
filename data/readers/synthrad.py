"""Case folders as the SynthRAD challenges publish them: one patient a folder, scans by name.

``ct.mha`` with ``mr.mha`` or ``cbct.mha`` and ``mask.mha`` (or ``.nii.gz``; Thummerer et al.,
Med. Phys. 50 (2023) 4664; SynthRAD2025 keeps the layout). The layout of the folder
determines the modality, not a file name alone: a lone ``cbct.mha`` outside such a folder does not.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_SUFFIXES = (".mha", ".nii.gz", ".nii", ".nrrd")
_SOURCES = ("mr", "cbct")
_REGIONS = {"HN": "head-neck", "TH": "thorax", "AB": "abdomen", "B": "other", "P": "other"}
NNUNET_DESCRIPTION = "dataset.json"
"""Name of the file in which nnU-Net describes a data set."""
MAX_BYTES = 1 << 22
"""A larger ``dataset.json`` is not one of nnU-Net."""

_NAME = re.compile(r"[12](HN|TH|AB|B|P)[A-Z]\w*")


@dataclass(frozen=True)
class CaseFolder:
    """One case: where it is, what it is called, and its files.

    Parameters
    ----------
    region
        From a SynthRAD case name (``1HNA001``: task, region, centre, number); None otherwise.
    scans
        ``ct`` with ``mr`` or ``cbct``, or both.
    mask
        The body mask that was published with it.
    """

    folder: Path
    name: str
    region: str | None
    scans: Mapping[str, Path]
    mask: Path | None


def case_folders(source: Path) -> list[CaseFolder]:
    """The case folders at or below a source, sorted by path. Only names are looked at."""
    if not source.is_dir():
        return []
    folders = [source, *sorted(path for path in source.rglob("*") if path.is_dir())]
    return [case for folder in folders if (case := _case(folder)) is not None]


def _case(folder: Path) -> CaseFolder | None:
    scans = {name: path for name in ("ct", *_SOURCES) if (path := _file(folder, name))}
    if "ct" not in scans or not scans.keys() & set(_SOURCES):
        return None
    match = _NAME.fullmatch(folder.name)
    region = _REGIONS[match.group(1)] if match else None
    return CaseFolder(folder, folder.name, region, scans, _file(folder, "mask"))


def _file(folder: Path, name: str) -> Path | None:
    """The image called ``name``, in small letters or capitals; the first suffix that is there."""
    for suffix in _SUFFIXES:
        for path in sorted(folder.iterdir()):
            if path.name.lower() == f"{name}{suffix}" and path.is_file():
                return path
    return None


def channel_names(path: str) -> dict[str, str]:
    """What the numbered channels of an nnU-Net data set are, by the ``dataset.json`` beside them.

    ``{"0000": "T1", "0001": "CT"}``; empty where the file has no such list. ``modality``
    is the name in nnU-Net 1, ``channel_names`` in nnU-Net 2. Runs in the readers' process.
    """
    file = Path(path)
    if file.stat().st_size > MAX_BYTES:
        return {}
    try:
        content = json.loads(file.read_bytes())
    except (ValueError, RecursionError):
        return {}
    found = (
        content.get("channel_names", content.get("modality")) if isinstance(content, dict) else None
    )
    if not isinstance(found, dict):
        return {}
    return {
        f"{int(number):04d}": str(name)
        for number, name in found.items()
        if str(number).isdecimal() and len(str(number)) <= 4 and isinstance(name, str)
    }
