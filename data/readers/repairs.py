"""Small faults of a series that can be mended or told without a doubt about the voxels."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from synthct.data.readers.notes import Remark
from synthct.data.readers.slice import Slice

SAME_PLACE_MM = 1e-3
"""Slices closer than this are at the same place."""

EXACT, ROUNDED = 1e-4, 5e-3
"""Departure from perpendicular unit vectors: nothing to say; explained by two or three decimals."""


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
    mended = left @ right
    sentence = f"direction cosines off by {off:.1g} (rounded) were made perpendicular"
    return mended[0], mended[1], [Remark("direction-rounded", sentence, repaired=True)]


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
    one_file = slices[number].entry.name == slices[other].entry.name  # frames of it are no copies
    if one_file or abs(along[number] - along[other]) >= SAME_PLACE_MM:
        return False
    return _content(slices[number]) == _content(slices[other])


def _content(one: Slice) -> tuple[str, str]:
    with one.entry.open() as file:
        file.seek(one.offset)
        digest = hashlib.sha256(file.read()).hexdigest()
    lines = (one.header.get("RescaleSlope"), one.header.get("RescaleIntercept"))
    return digest, str(lines)


def shuffled(slices: Sequence[Slice]) -> list[Remark]:
    """Instance numbers that neither grow nor fall along the stack: the places decided."""
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
    """Slices with different rescale lines: each got its own."""
    lines = {
        (str(one.header.get("RescaleSlope")), str(one.header.get("RescaleIntercept")))
        for one in slices
    }
    if len(lines) == 1:
        return []
    return [
        Remark("mixed-rescale", f"{len(lines)} rescale lines in one series, each slice its own")
    ]
