"""Scans from files, read strictly: DICOM folders and zips, NIfTI, MetaImage, NRRD."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from data.faults import DataFault, UsageFault
from data.readers.dicom import one_series, read_series
from data.readers.entries import entries
from data.readers.facts import ScanFacts, sequence_facts
from data.readers.faults_only import faults_only
from data.readers.metaimage import (
    read_metaimage,
    read_metaimage_displacement,
    read_metaimage_header,
)
from data.readers.nifti import read_nifti, read_nifti_header
from data.readers.nrrd import read_nrrd, read_nrrd_header
from data.readers.series import Series, is_dicom
from data.readers.slices import Stack, stack
from data.volume import Displacement, Grid, Modality, Volume

_RAW = {"nifti": read_nifti, "metaimage": read_metaimage, "nrrd": read_nrrd}
_GRIDS: dict[str, Callable[[Path], Grid]] = {
    "nifti": lambda path: read_nifti_header(path).grid,
    "metaimage": lambda path: read_metaimage_header(path).grid,
    "nrrd": lambda path: read_nrrd_header(path).grid,
}


def format_of(path: Path) -> str:
    """``dicom``, ``nifti``, ``metaimage`` or ``nrrd``, by name and, for DICOM, by content."""
    name = path.name.lower()
    if path.is_dir():
        return "dicom"
    if not path.is_file():
        raise DataFault("the scan exists", where=str(path), got="no file", code="no-file")
    if name.endswith((".nii", ".nii.gz")):
        return "nifti"
    if name.endswith(".nrrd"):
        return "nrrd"
    if name.endswith(".mha"):
        return "metaimage"
    if zipfile.is_zipfile(path) or is_dicom(entries(path)[0]):
        return "dicom"
    raise DataFault(
        "a scan is a DICOM folder or zip, .nii, .nii.gz, .mha or attached .nrrd",
        where=str(path),
        got=path.suffix or "no suffix",
        remedy="convert it to one of these",
        code="unknown-format",
    )


def read_scan(
    path: Path, modality: Modality | None = None, *, require_finite: bool = True
) -> Volume:
    """Read a scan of any format; what is damaged, ambiguous or incomplete raises a fault.

    Parameters
    ----------
    path
        DICOM folder or zip of one series, ``.nii``, ``.nii.gz``, ``.mha`` or ``.nrrd``.
    modality
        What the voxels measure. DICOM says it itself (a disagreement raises); the other formats
        do not, so for them it must be given.
    require_finite
        Raise when a voxel is NaN or infinite; ingestion reads them and says what it did.
    """
    return read_scan_and_facts(path, modality, require_finite=require_finite)[0]


def read_scan_and_facts(
    path: Path, modality: Modality | None = None, *, require_finite: bool = True
) -> tuple[Volume, ScanFacts]:
    """:func:`read_scan` and :func:`describe` in one pass over the files."""
    with faults_only(str(path)):
        volume, facts = _read(path, modality)
    if require_finite:
        _require_finite(volume, path)
    return volume, facts


def _read(path: Path, modality: Modality | None) -> tuple[Volume, ScanFacts]:
    kind = format_of(path)
    if kind == "dicom":
        series = one_series(path)
        volume = read_series(series, str(path), modality)
        return volume, _facts(kind, series, volume.modality, stack(series, str(path)))
    if modality is None:
        raise UsageFault(
            "a scan that is not DICOM does not say its modality",
            where=str(path),
            remedy="give the modality: CT, MR or CBCT",
            code="modality-unknown",
        )
    volume = _RAW[kind](path, modality)
    return volume, ScanFacts(kind, None, volume.grid)


def read_displacement_image(path: Path) -> Displacement:
    """Read a displacement that :func:`data.writers.write_displacement_image` wrote (``.mha``)."""
    with faults_only(str(path)):
        return read_metaimage_displacement(path)


def describe(path: Path) -> ScanFacts:
    """Format, modality, grid and sequence facts, without decoding voxels."""
    with faults_only(str(path)):
        kind = format_of(path)
        if kind != "dicom":
            return ScanFacts(kind, None, _GRIDS[kind](path))
        series = one_series(path)
        return _facts(kind, series, series.modality, stack(series, str(path)))


def _facts(kind: str, series: Series, modality: Modality | None, pile: Stack) -> ScanFacts:
    frame = str(series.first.get("FrameOfReferenceUID") or "")
    facts = sequence_facts(series.first)
    return ScanFacts(kind, modality, pile.grid, 1, facts, frame, pile.remarks)


def _require_finite(volume: Volume, path: Path) -> None:
    if volume.array.dtype.kind != "f":
        return
    wrong = int(volume.array.size - np.isfinite(volume.array).sum())
    if wrong:
        raise DataFault(
            "every voxel is a finite number",
            where=str(path),
            got=f"{wrong} voxels NaN or infinite",
            remedy="replace them with air (CT) or 0 (MR)",
            code="not-finite",
        )
