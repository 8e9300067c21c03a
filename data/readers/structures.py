"""RTSTRUCT: the closed contours of every structure (DICOM PS3.3 A.19, C.8.8.5, C.8.8.6)."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from synthct.data.errors import DataError
from synthct.data.readers.contours import DrawnOn, drawn_on, roi_number
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
        f"the source holds {len(found)} RTSTRUCT files",
        where=str(source),
        rule="a source of structures holds one RTSTRUCT file",
        remedy="give the file itself",
        code="several-series" if found else "no-series",
    )


EXCLUSIVE = "CLOSEDPLANAR_XOR"
CLOSED = ("CLOSED_PLANAR", EXCLUSIVE)
"""Contours that enclose an area."""


def outlines(entry: Entry, where: str) -> dict[str, Any]:
    """Contours by structure: all points (n, 3) in one array, (z, y, x) [mm], cut by ``lengths``."""
    dataset = whole_header(entry)
    names = unique_names(dataset)
    places = drawn_on(dataset)
    lengths: list[tuple[str, int]] = []
    parts: list[NDArray[np.float64]] = []
    left_out: dict[str, str] = {}
    exclusive: list[str] = []
    for roi in dataset.get("ROIContourSequence") or []:
        number = roi_number(roi, "ReferencedROINumber")
        name = names.get(number)
        if name is None:
            left_out[f"ROI {number}"] = "unnamed-contours"
            continue
        try:
            drawn, types, by_xor = _closed(roi, entry, name)
        except DataError as error:
            left_out[name] = error.code
            continue
        if types:
            left_out[name] = "some-contours" if drawn else "contour-type"
        exclusive += [name] if by_xor else []
        parts += drawn
        lengths += [(name, len(points)) for points in drawn]
        if sum(length for _, length in lengths) > MAX_POINTS:
            raise broken_dicom(
                entry, f"the file has more than {MAX_POINTS} contour points", "too-large"
            )
    outlined = {name for name, _ in lengths}
    skipped = sorted(set(names.values()) - outlined)
    return {
        "points": np.concatenate(parts) if parts else np.zeros((1, 3)),
        "lengths": lengths,
        "skipped": skipped,
        "exclusive": exclusive,
        "left_out": {**dict.fromkeys(skipped, "no-contours"), **left_out},
        "drawn_on": {
            names[number]: one.as_json() for number, one in places.items() if number in names
        },
        **_usual(places, dataset),
    }


def _closed(
    roi: Dataset, entry: Entry, name: str
) -> tuple[list[NDArray[np.float64]], list[str], bool]:
    """The closed contours of one structure, the types of its others, and whether it is XOR."""
    drawn: list[NDArray[np.float64]] = []
    others: list[str] = []
    exclusive = False
    for contour in roi.get("ContourSequence") or []:
        kind = str(contour.get("ContourGeometricType", "")).strip().upper()
        if kind in CLOSED:
            drawn.append(_points(contour, entry, name))
            exclusive |= kind == EXCLUSIVE
        else:
            others.append(kind)
    return drawn, others, exclusive


def _points(contour: Dataset, entry: Entry, name: str) -> NDArray[np.float64]:
    try:
        numbers = np.array([float(number) for number in contour.ContourData])
    except (AttributeError, TypeError, ValueError) as error:
        raise broken_dicom(
            entry, f"the contour data of {name[:40]!r} cannot be read: {error}"
        ) from error
    declared = int(contour.get("NumberOfContourPoints", numbers.size // 3))
    if numbers.size != 3 * declared or declared < 1 or not np.isfinite(numbers).all():
        problem = f"{numbers.size} coordinates for {declared} contour points of {name[:40]!r}"
        raise broken_dicom(entry, problem)
    return numbers.reshape(-1, 3)[:, ::-1]


def unique_names(dataset: Dataset) -> dict[int, str]:
    """A name for each ROINumber; the second of one name and later ones have a number in it."""
    names: dict[int, str] = {}
    taken: set[str] = set()
    for item in dataset.get("StructureSetROISequence") or []:
        number = roi_number(item, "ROINumber")
        label = str(item.get("ROIName", "") or "").strip() or f"ROI {number}"
        name, extra = label, number
        while name in taken:
            name, extra = f"{label} ({extra})", extra + 1
        names[number] = name
        taken.add(name)
    return names


def _usual(places: Mapping[int, DrawnOn], dataset: Dataset) -> dict[str, str]:
    """The frame of reference that most structures lie in, and the series they were drawn on."""
    frames = Counter(one.frame_uid for one in places.values() if one.frame_uid)
    listed = [
        str(one.get("FrameOfReferenceUID") or "")
        for one in dataset.get("ReferencedFrameOfReferenceSequence") or []
    ]
    frame = frames.most_common(1)[0][0] if frames else "".join(listed[:1])
    series = Counter(
        uid for one in places.values() if one.frame_uid == frame for uid in one.series_uids
    )
    return {"frame": frame, "series": series.most_common(1)[0][0] if series else ""}


def whole_header(entry: Entry) -> Dataset:
    """Every element of a structure set."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with entry.open() as file:
                return pydicom.dcmread(file, force=True)
        except DataError:
            raise
        except Exception as error:
            raise broken_dicom(
                entry, f"the file cannot be parsed ({type(error).__name__}: {error})"
            ) from error
