"""Near-duplicates: one scan under two patients' names, resampled, cropped or windowed.

Two steps: a fingerprint of three thousand bytes finds candidates among thousands of scans; the
correlation of the fine detail of two images, resampled onto one grid, decides.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from synthct.data.errors import DataError
from synthct.data.itk import resample
from synthct.data.store.volumes import read_volume
from synthct.data.volume import Volume
from synthct.tasks.ingestion.body import body_threshold
from synthct.tasks.ingestion.canonical import reoriented
from synthct.tasks.ingestion.findings import Code, Severity
from synthct.tasks.ingestion.params import BodyThresholds

SHAPE = (12, 16, 16)
"""Cells (z, y, x) of a fingerprint, over the body's bounding box."""

ALIKE = 0.75
"""Correlation of fingerprints from which the images themselves are compared."""

SAME = 0.9
"""Correlation of detail from which two scans are the same image."""

CELL_MM, DETAIL_MM = 4.0, 8.0
"""Band of the compared detail: averaging removes what is finer than the first length, a high-pass
filter what is coarser than the second."""

OVERLAP = 0.5
"""Fraction of the body's box that the other scan must cover for a comparison."""

_TAILS = (0.01, 0.99)


def fingerprint(volume: Volume) -> str:
    """High-pass filtered cell means over the body's box, as base64 of int8."""
    upright, box = _body(volume)
    low, high = np.percentile(upright.array, (1, 99))
    cells = _cells(np.clip(upright.array, low, high)[box])
    detail = cells - ndimage.gaussian_filter(cells, 2.0)
    scale = float(np.abs(detail).max()) or 1.0
    return base64.b64encode(np.rint(detail / scale * 127).astype(np.int8).tobytes()).decode()


def likeness(one: str, other: str) -> float:
    """Correlation of two fingerprints, -1 to 1."""
    a, b = (_vector(text) for text in (one, other))
    norm = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / norm if norm else 0.0


def same_image(one: Volume, other: Volume) -> float:
    """Correlation of the detail of two scans in their overlap, -1 to 1.

    Copies have the same coordinates, however they were sampled; scans of different people that
    happen to overlap have different detail.
    """
    upright, box = _body(one)
    steps = [max(1, round(CELL_MM / step)) for step in upright.grid.spacing_mm]
    smooth = ndimage.uniform_filter(upright.array, steps)
    start = tuple(part.start or 0 for part in box)
    stop = tuple(part.stop or size for part, size in zip(box, smooth.shape, strict=True))
    part = Volume(smooth, upright.grid, upright.modality).crop(start, stop)  # type: ignore[arg-type]
    second = _body(other)[0]
    low = float(second.array.min())
    resampled = resample(second, part.grid, outside=low - 1.0).array
    known = resampled >= low
    if known.mean() < OVERLAP or not known.any():
        return 0.0
    resampled = ndimage.uniform_filter(np.where(known, resampled, low), steps)
    a, b = (_detail(array, part.grid.spacing_mm)[known] for array in (part.array, resampled))
    return float(np.corrcoef(a, b)[0, 1]) if a.std() > 0 and b.std() > 0 else 0.0


def _detail(array: NDArray[np.float32], spacing_mm: tuple[float, ...]) -> NDArray[np.float32]:
    low, high = np.percentile(array, (1, 99))
    clipped = np.clip(array, low, high)
    smooth = ndimage.gaussian_filter(clipped, [DETAIL_MM / step for step in spacing_mm])
    return np.asarray(clipped - smooth)


def _body(volume: Volume) -> tuple[Volume, tuple[slice, ...]]:
    """The reoriented scan as float32, and the bounding box of its body."""
    upright = reoriented(volume)
    array = np.nan_to_num(upright.array.astype(np.float32))
    upright = upright.with_array(array)
    threshold = body_threshold(upright, BodyThresholds().of(upright.modality))
    smooth = ndimage.uniform_filter(array, [max(1, round(6 / s)) for s in upright.grid.spacing_mm])
    return upright, _box(smooth > threshold)


def _vector(text: str) -> NDArray[np.float64]:
    values = np.frombuffer(base64.b64decode(text), np.int8).astype(np.float64)
    return np.asarray(values - values.mean())


def _box(inside: NDArray[np.bool_]) -> tuple[slice, ...]:
    """Slices along each axis that leave out 1 % of the body at either end."""
    slices = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        mass = np.cumsum(inside.sum(axis=others, dtype=np.float64))
        if mass[-1] == 0:
            return (slice(None),) * 3
        first, last = np.searchsorted(mass / mass[-1], _TAILS)
        slices.append(slice(int(first), int(last) + 1))
    return tuple(slices)


def _cells(array: NDArray[np.float32]) -> NDArray[np.float32]:
    """Means over a regular division of the box into ``SHAPE`` cells."""
    steps = [size / cells for size, cells in zip(array.shape, SHAPE, strict=True)]
    smooth = ndimage.uniform_filter(array, [max(1, round(step)) for step in steps], mode="nearest")
    at = [(np.arange(cells) + 0.5) * step - 0.5 for cells, step in zip(SHAPE, steps, strict=True)]
    grid = np.stack(np.meshgrid(*at, indexing="ij"))
    return np.asarray(ndimage.map_coordinates(smooth, grid, order=1, mode="nearest"))


NEAR_DUPLICATE = Code(
    "near-duplicate",
    Severity.QUARANTINE,
    "two patients have the same image, perhaps resampled: it could be in training and test",
    "keep one of the two; list the scan in ingestion.released if they are two people",
)


def near_duplicates(
    out: Path, facts: Sequence[Mapping[str, Any]], released: Sequence[str]
) -> dict[str, DataError]:
    """The later patient of each pair that shares an image, with the error.

    Parameters
    ----------
    out
        Folder with the patients' stored volumes.
    facts
        ``patient.json`` of each patient.
    released
        ``PATIENT/SCAN`` of quarantined scans that a person has accepted.
    """
    found: dict[str, DataError] = {}
    scans = [
        _Scan(patient["patient"], name, entry["modality"], entry["fingerprint"])
        for patient in sorted(facts, key=lambda one: str(one["patient"]))
        for name, entry in sorted(patient["scans"].items())
    ]
    accepted = set(released)
    for one, other in _alike(scans):
        if one.patient == other.patient or f"{other.patient}/{other.name}" in accepted:
            continue
        if other.patient in found or one.patient in found:
            continue
        first, second = (read_volume(out / s.patient / f"{s.name}.zarr") for s in (one, other))
        if (alike := same_image(first, second)) >= SAME:
            found[other.patient] = DataError(
                f"it is the image of {one.patient}/{one.name} (correlation of detail {alike:.2f})",
                rule="an image belongs to one patient (quarantine)",
                where=f"{other.patient}/{other.name}",
                remedy=NEAR_DUPLICATE.remedy,
                code=NEAR_DUPLICATE.name,
            )
    return found


@dataclass(frozen=True)
class _Scan:
    """A scan's patient, name, modality and fingerprint."""

    patient: str
    name: str
    modality: str
    fingerprint: str


def _alike(scans: Sequence[_Scan]) -> Iterator[tuple[_Scan, _Scan]]:
    """Pairs of one modality whose fingerprints correlate by ``ALIKE``, in order of the list.

    The correlations are products of matrices of unit vectors, a block of rows at a time: each
    fingerprint is decoded once, and a pair costs 3072 multiplications instead of two decodings.
    Single precision selects with a margin; double precision decides.
    """
    found: list[tuple[int, int]] = []
    for modality in sorted({scan.modality for scan in scans}):
        places = np.array([at for at, scan in enumerate(scans) if scan.modality == modality])
        units = np.stack([_unit(scans[at].fingerprint) for at in places])
        for start in range(0, len(units), _BLOCK):
            block = units[start : start + _BLOCK] @ units[start:].T
            for row, column in np.argwhere(block >= ALIKE - _MARGIN):
                if column > row:
                    found.append((int(places[start + row]), int(places[start + column])))
    for first, second in sorted(found):
        one, other = scans[first], scans[second]
        if likeness(one.fingerprint, other.fingerprint) >= ALIKE:
            yield one, other


_BLOCK = 1024
"""Rows of a product: 4 MB of correlations for each thousand scans."""

_MARGIN = 1e-3
"""Far above the rounding of a product of 3072 numbers in single precision."""


def _unit(text: str) -> NDArray[np.float32]:
    """The fingerprint with mean 0 and length 1; zeros for one without detail."""
    vector = _vector(text)
    return np.asarray(vector / (float(np.linalg.norm(vector)) or 1.0), np.float32)
