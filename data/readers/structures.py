"""RTSTRUCT: the closed planar contours of every structure (DICOM PS3.3 A.19, C.8.8.5, C.8.8.6)."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from synthct.data.errors import DataError
from synthct.data.readers.entries import Entry, entries
from synthct.data.readers.series import find_series
from synthct.data.readers.slice import broken_dicom

MAX_POINTS = 20_000_000
"""Most contour points of one structure set."""


def find_structures(source: Path, uid: str = "") -> Entry:
    """The one structure set of a file, folder or zip, or the one with the SeriesInstanceUID."""
    found = [
        one.entry
        for series in find_series(entries(source), uid)
        for one in series.slices
        if str(one.header.get("Modality", "")).upper() == "RTSTRUCT"
    ]
    if len(found) == 1:
        return found[0]
    raise DataError(
        "a source of structures holds one RTSTRUCT file",
        where=str(source),
        got=f"{len(found)}",
        remedy="give the file itself",
        code="several-series" if found else "no-series",
    )


def outlines(entry: Entry, where: str) -> dict[str, Any]:
    """Contours by structure: all points (n, 3) in one array, (z, y, x) [mm], cut by ``lengths``."""
    dataset = _whole(entry)
    names = {
        int(item.ROINumber): str(item.get("ROIName", "") or f"ROI {item.ROINumber}").strip()
        for item in dataset.get("StructureSetROISequence") or []
    }
    _require_unique(names, where)
    lengths: list[tuple[str, int]] = []
    parts: list[NDArray[np.float64]] = []
    for roi in dataset.get("ROIContourSequence") or []:
        name = names.get(int(roi.ReferencedROINumber))
        if name is None:
            raise broken_dicom(entry, f"contours of ROI {roi.ReferencedROINumber} without a name")
        for contour in roi.get("ContourSequence") or []:
            if str(contour.get("ContourGeometricType", "")).upper() != "CLOSED_PLANAR":
                continue
            points = _points(contour, entry, name)
            lengths.append((name, len(points)))
            parts.append(points)
        if sum(length for _, length in lengths) > MAX_POINTS:
            raise broken_dicom(entry, f"more than {MAX_POINTS} contour points", "too-large")
    outlined = {name for name, _ in lengths}
    return {
        "points": np.concatenate(parts) if parts else np.zeros((1, 3)),
        "lengths": lengths,
        "skipped": sorted(set(names.values()) - outlined),
        **_reference(dataset),
    }


def _points(contour: Dataset, entry: Entry, name: str) -> NDArray[np.float64]:
    try:
        numbers = np.array([float(number) for number in contour.ContourData])
    except (AttributeError, TypeError, ValueError) as error:
        raise broken_dicom(entry, f"contour data of {name[:40]!r}: {error}") from error
    declared = int(contour.get("NumberOfContourPoints", numbers.size // 3))
    if numbers.size != 3 * declared or declared < 1 or not np.isfinite(numbers).all():
        got = f"{numbers.size} numbers for {declared} contour points of {name[:40]!r}"
        raise broken_dicom(entry, got)
    return numbers.reshape(-1, 3)[:, ::-1]


def _require_unique(names: dict[int, str], where: str) -> None:
    twice = {name for name in names.values() if list(names.values()).count(name) > 1}
    if twice:
        raise DataError(
            "each structure has a name of its own",
            where=where,
            got=f"{min(twice)[:40]!r} twice",
            remedy="rename one of them in the planning system",
            code="structure-twice",
        )


def _reference(dataset: Dataset) -> dict[str, str]:
    """Frame of reference and series that were outlined, where the file says them."""
    frame = series = ""
    for one in dataset.get("ReferencedFrameOfReferenceSequence") or []:
        frame = str(one.get("FrameOfReferenceUID", ""))
        for study in one.get("RTReferencedStudySequence") or []:
            for image in study.get("RTReferencedSeriesSequence") or []:
                series = str(image.get("SeriesInstanceUID", ""))
    return {"frame": frame, "series": series}


def _whole(entry: Entry) -> Dataset:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with entry.open() as file:
                return pydicom.dcmread(file, force=True)
        except DataError:
            raise
        except Exception as error:
            raise broken_dicom(entry, f"{type(error).__name__}: {error}") from error
