"""Headers of an image series and its structure sets, for new series filed with them.

Runs in the readers' process, which returns JSON and arrays, never DICOM.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.valuerep import PersonName, format_number_as_ds

from synthct.data.readers.checks import as_data_errors
from synthct.data.readers.contours import drawn_on
from synthct.data.readers.entries import Entry, entries
from synthct.data.readers.header_facts import grid_json
from synthct.data.readers.pick import picked
from synthct.data.readers.series import Series, find_series
from synthct.data.readers.slice import broken_dicom
from synthct.data.readers.slices import stack
from synthct.data.readers.structures import MAX_POINTS, whole_header

SET_TEXTS = ("StructureSetLabel", "StructureSetName", "StructureSetDate", "StructureSetTime")
"""Of a structure set itself; operators, machines and private elements are left out."""

_IMAGES_AND_POINTS = ("ContourData", "ContourImageSequence", "ContourSequence")


def headers_and_sets(path: str, keywords: Sequence[str], series: str) -> dict[str, Any]:
    """Headers of the one image series of a source, and the structure sets of the source."""
    with as_data_errors(path):
        found = find_series(entries(Path(path)))
        images = picked([one for one in found if not series or one.called(series)], Path(path))
        return {"headers": _headers(images, path, keywords), "sets": list(_sets(found))}


def structure_sets(path: str) -> list[dict[str, Any]]:
    """Every structure set of a file, folder or zip."""
    with as_data_errors(path):
        return list(_sets(find_series(entries(Path(path)))))


def _headers(series: Series, path: str, keywords: Sequence[str]) -> dict[str, Any]:
    """UIDs, grid and instances of all slices, and the requested elements of the first."""
    pile = stack(series, path)
    first = series.first
    asked = _header(series.slices[0].entry, keywords)
    texts = {keyword: _text(asked.get(keyword)) for keyword in keywords if keyword in asked}
    instances = [
        [str(one.header.get(name) or "") for name in ("SOPClassUID", "SOPInstanceUID")]
        for one in pile.slices
    ]
    return {
        "series": series.uid,
        "study": str(first.get("StudyInstanceUID") or ""),
        "frame": str(first.get("FrameOfReferenceUID") or ""),
        "grid": grid_json(pile.grid),
        "instances": instances,
        "texts": texts,
    }


def _header(entry: Entry, keywords: Sequence[str]) -> Dataset:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # hospitals file longer study IDs than the standard allows
        with entry.open() as file:
            tags: list[Any] = [*keywords, "SpecificCharacterSet"]
            return pydicom.dcmread(file, stop_before_pixels=True, force=True, specific_tags=tags)


def _text(value: Any) -> str | list[str]:
    """Decoded text, so that it is written in the character set of the new file."""
    if value is None:
        return ""
    single = isinstance(value, str | PersonName) or not hasattr(value, "__iter__")
    return str(value) if single else [str(part) for part in value]


def _sets(found: Sequence[Series]) -> Iterator[dict[str, Any]]:
    for series in found:
        for one in series.slices:
            if str(one.header.get("Modality", "")).upper() == "RTSTRUCT":
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    yield _set(whole_header(one.entry), one.entry)


def _set(dataset: Dataset, entry: Entry) -> dict[str, Any]:
    """One structure set: each structure's items as JSON, all contour points in one array."""
    places = drawn_on(dataset)
    drawn = {
        int(item.ReferencedROINumber): item for item in dataset.get("ROIContourSequence") or []
    }
    observed: dict[int, list[Any]] = {}
    for item in dataset.get("RTROIObservationsSequence") or []:
        observed.setdefault(int(item.ReferencedROINumber), []).append(_plain(item))
    points: list[NDArray[np.float64]] = []
    structures = []
    for item in dataset.get("StructureSetROISequence") or []:
        number = int(item.ROINumber)
        contours = []
        for contour in (drawn[number].get("ContourSequence") or []) if number in drawn else []:
            points.append(_points(contour, entry))
            contours.append({"item": _plain(contour), "count": len(points[-1])})
        structures.append({
            "number": number, "definition": _plain(item), "observed": observed.get(number, []),
            "drawn": _plain(drawn[number]) if number in drawn else None, "contours": contours,
            "drawn_on": places[number].as_json(),
        })  # fmt: skip
    every = np.concatenate(points) if points else np.zeros((0, 3))
    if len(every) > MAX_POINTS:
        raise broken_dicom(
            entry, f"the file has more than {MAX_POINTS} contour points", "too-large"
        )
    return {
        "uid": str(dataset.get("SOPInstanceUID") or ""),
        "texts": {name: _text(dataset.get(name)) for name in SET_TEXTS if name in dataset},
        "structures": structures,
        "points": every if len(every) else np.zeros((1, 3)),
    }


def _points(contour: Dataset, entry: Entry) -> NDArray[np.float64]:
    """(n, 3) points, (z, y, x) [mm]."""
    numbers = np.array([float(number) for number in contour.get("ContourData") or []])
    if numbers.size % 3 or not np.isfinite(numbers).all():
        raise broken_dicom(
            entry,
            f"a contour has {numbers.size} coordinates, which are not finite (x, y, z) points",
        )
    return numbers.reshape(-1, 3)[:, ::-1]


def _plain(item: Dataset) -> dict[str, Any]:
    """An item as DICOM JSON, without points, image references, names and private elements."""
    kept = Dataset()
    for element in item:
        named = element.VR == "PN" or element.keyword in _IMAGES_AND_POINTS
        if not (element.tag.is_private or named):
            kept.add(element)
    kept.remove_private_tags()
    plain: dict[str, Any] = _short(kept.to_json_dict(bulk_data_threshold=1 << 24))
    return plain


def _short(value: Any) -> Any:
    """Decimal strings rounded to the 16 characters that DICOM allows."""
    if isinstance(value, list):
        return [_short(one) for one in value]
    if not isinstance(value, dict):
        return value
    if value.get("vr") == "DS":
        numbers = [
            v if v is None else float(format_number_as_ds(v)) for v in value.get("Value", [])
        ]
        return {"vr": "DS", "Value": numbers}
    return {key: _short(each) for key, each in value.items()}
