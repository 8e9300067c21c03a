"""Repairs of small errors of a series that do not affect the voxels."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthct.data.readers.header_facts import Remark
from synthct.data.readers.slice import Slice

SAME_PLACE_MM = 1e-3
"""Slices closer than this are at the same place."""

EXACT, ROUNDED = 1e-4, 5e-3
"""Departure from perpendicular unit vectors: nothing to report; explained by rounding."""


def perpendicular(
    orientation: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64], list[Remark]]:
    """Row and column cosines; rounded ones become the nearest perpendicular unit vectors.

    Nearest in the least-squares sense: ``U Vᵀ`` of the singular value decomposition (Procrustes).
    """
    pair = orientation.reshape(2, 3)
    off = float(np.abs(pair @ pair.T - np.eye(2)).max())
    if not EXACT < off <= ROUNDED:
        return pair[0], pair[1], []
    left, _, right = np.linalg.svd(pair, full_matrices=False)
    repaired_pair = left @ right
    sentence = f"direction cosines off by {off:.1g} (rounded) were made perpendicular"
    return (
        repaired_pair[0],
        repaired_pair[1],
        [Remark("direction-rounded", sentence, repaired=True)],
    )


def without_repeats(
    slices: Sequence[Slice], along: NDArray[np.float64]
) -> tuple[NDArray[np.intp], list[Remark]]:
    """Order of the slices along the normal, without exact copies of a slice at the same place."""
    order = np.argsort(along, kind="stable")
    kept: list[int] = []
    for number in order:
        if not (kept and _is_copy(number, kept[-1], slices, along)):
            kept.append(int(number))
    dropped = len(order) - len(kept)
    sentence = f"{dropped} exact copies of slices at the same place were dropped"
    remarks = [Remark("repeated-slices", sentence, repaired=True)] if dropped else []
    return np.array(kept), remarks


def _is_copy(number: int, other: int, slices: Sequence[Slice], along: NDArray[np.float64]) -> bool:
    one_file = slices[number].entry.name == slices[other].entry.name  # its frames are not copies
    if one_file or abs(along[number] - along[other]) >= SAME_PLACE_MM:
        return False
    return _content(slices[number]) == _content(slices[other])


def _content(one: Slice) -> tuple[str, tuple[Any, Any]]:
    with one.entry.open() as file:
        file.seek(one.offset)
        digest = hashlib.sha256(file.read()).hexdigest()
    return digest, rescale_of(one)


def rescale_of(one: Slice) -> tuple[Any, Any]:
    """Slope and intercept as numbers, however they are written; None where one is missing."""
    slope, intercept = (one.header.get(keyword) for keyword in ("RescaleSlope", "RescaleIntercept"))
    return _number(slope), _number(intercept)


def _number(found: Any) -> Any:
    try:
        return None if found in (None, "") else float(found)
    except (TypeError, ValueError):
        return str(found)


def shuffled(slices: Sequence[Slice]) -> list[Remark]:
    """Remark on instance numbers that are not monotonic along the stack: positions decided."""
    numbers = [one.header.get("InstanceNumber") for one in slices]
    try:
        steps = np.diff([float(number) for number in numbers])
    except (TypeError, ValueError):
        return []
    against = int(min((steps < 0).sum(), (steps > 0).sum()))
    if against == 0:
        return []
    sentence = f"instance numbers jump back at {against} slices: sorted by their places"
    return [Remark("shuffled-slices", sentence)]


def mixed_rescale(slices: Sequence[Slice]) -> list[Remark]:
    """Remark on slices with different rescales; each slice keeps its own."""
    lines = {rescale_of(one) for one in slices}
    if len(lines) == 1:
        return []
    return [
        Remark("mixed-rescale", f"{len(lines)} rescale lines in one series, each slice its own")
    ]


@dataclass(frozen=True, eq=False)
class RoundedLine:
    """Evenly spaced corners (n, 3) [mm] that rounding turned into uneven ones."""

    corners: NDArray[np.float64]
    step_mm: float
    remark: Remark


def rounded_line(corners: NDArray[np.float64], normal: NDArray[np.float64]) -> RoundedLine | None:
    """The even line from which rounding to tenths or hundredths of a millimetre gave the positions.

    Some scanners write positions with one decimal: slices of 0.625 mm then lie 0.6 and 0.7 mm
    apart. The least-squares line is taken where all positions have so few decimals and none is
    farther from it than their rounding; None where the positions need no line or fit none.
    """
    unit = next((u for u in (0.1, 0.01) if _multiples(corners, u)), None)
    if unit is None or len(corners) < 3:
        return None
    number = np.arange(len(corners)) - (len(corners) - 1) / 2
    step = number @ corners / (number @ number)
    line = corners.mean(axis=0) + np.outer(number, step)
    off = np.abs(corners - line).max()
    # Half a unit, plus the possible error of the fit to rounded points.
    if off <= SAME_PLACE_MM or off > 0.75 * unit or step @ normal <= 2 * unit:
        return None
    sentence = f"positions rounded to {unit:g} mm (off by {off:.2g} mm) were put on their line"
    return RoundedLine(line, float(step @ normal), Remark("positions-rounded", sentence, True))


def _multiples(values: NDArray[np.float64], unit: float) -> bool:
    return bool(np.abs(values / unit - np.rint(values / unit)).max() < 1e-6)
