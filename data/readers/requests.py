"""Functions that run in the readers' process; they return JSON values and arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from synthct.data.errors import DataError, UsageError
from synthct.data.readers.checks import as_data_errors
from synthct.data.readers.contents import contents
from synthct.data.readers.dicom import one_series, read_stack
from synthct.data.readers.dose import describe_dose, read_dose
from synthct.data.readers.formats import GRIDS, RAW, format_of
from synthct.data.readers.header_facts import ScanFacts, grid_json, sequence_facts
from synthct.data.readers.metaimage import read_metaimage_displacement
from synthct.data.readers.series import Series
from synthct.data.readers.slices import Stack, stack
from synthct.data.readers.structures import find_structures, outlines
from synthct.data.volume import Modality, Volume


def scan(path: str, modality: str | None, series: str, require_finite: bool) -> dict[str, Any]:
    """Voxels and facts of one scan (see :func:`synthct.data.readers.read_scan_and_facts`)."""
    source = Path(path)
    with as_data_errors(path):
        volume, facts = _read(source, Modality(modality) if modality else None, series)
    if require_finite:
        _require_finite(volume, source)
    return {"array": volume.array, "modality": str(volume.modality), "facts": facts.as_json()}


def series_uid(path: str, selector: str, wanted: Sequence[str]) -> str:
    """Result of :func:`synthct.data.readers.pick_series`."""
    with as_data_errors(path):
        return one_series(Path(path), selector, wanted=[Modality(one) for one in wanted]).uid


def facts(path: str, series: str) -> dict[str, Any]:
    """Result of :func:`synthct.data.readers.describe`."""
    source = Path(path)
    with as_data_errors(path):
        kind = format_of(source)
        if kind != "dicom":
            return ScanFacts(kind, None, GRIDS[kind](source)).as_json()
        found = one_series(source, series)
        if found.modality is Modality.DOSE:
            return ScanFacts(kind, Modality.DOSE, describe_dose(found)).as_json()
        return _series_facts(found, stack(found, path), found.modality).as_json()


def found(path: str) -> list[dict[str, Any]]:
    """Everything in a source (see :func:`synthct.data.readers.find`)."""
    return [row.as_json() for row in contents(Path(path))]


def displacement(path: str) -> dict[str, Any]:
    """A displacement image: vectors (3, Z, Y, X), component order (z, y, x) [mm]."""
    with as_data_errors(path):
        field = read_metaimage_displacement(Path(path))
    return {"vectors": field.vectors, "grid": grid_json(field.grid)}


def structures(path: str) -> dict[str, Any]:
    """The outlines of a structure set (see :func:`synthct.data.readers.read_structures`)."""
    with as_data_errors(path):
        return outlines(find_structures(Path(path)), path)


def _read(path: Path, modality: Modality | None, series: str) -> tuple[Volume, ScanFacts]:
    kind = format_of(path)
    if kind == "dicom":
        return _read_dicom(path, modality, series)
    if modality is None:
        raise UsageError(
            "the modality of the scan is not given",
            rule="only DICOM files state their modality",
            where=str(path),
            remedy="give the modality: CT, MR or CBCT",
            code="modality-unknown",
        )
    volume = RAW[kind](path, modality)
    return volume, ScanFacts(kind, None, volume.grid)


def _read_dicom(path: Path, modality: Modality | None, uid: str) -> tuple[Volume, ScanFacts]:
    series = one_series(path, uid, modality)
    if series.modality is Modality.DOSE:
        volume = read_dose(series, modality)
        return volume, ScanFacts("dicom", Modality.DOSE, volume.grid)
    pile = stack(series, str(path))
    volume, remarks = read_stack(series, pile, str(path), modality)
    return volume, replace(_series_facts(series, pile, volume.modality), remarks=remarks)


def _series_facts(series: Series, pile: Stack, modality: Modality | None) -> ScanFacts:
    frame = str(series.first.get("FrameOfReferenceUID") or "")
    facts = sequence_facts(series.first)
    return ScanFacts("dicom", modality, pile.grid, 1, facts, frame, pile.remarks)


def _require_finite(volume: Volume, path: Path) -> None:
    if volume.array.dtype.kind != "f":
        return
    wrong = volume.array.size - sum(int(np.isfinite(plane).sum()) for plane in volume.array)
    if wrong:
        raise DataError(
            f"{wrong} voxels are NaN or infinite",
            where=str(path),
            rule="every voxel is a finite number",
            remedy="replace them with air (CT) or 0 (MR)",
            code="not-finite",
        )
