"""Pixels that the header says were never measured: padding becomes air (DICOM PS3.3 C.7.5.1.1.2).

PixelPaddingValue, up to PixelPaddingRangeLimit where there is one, fills what the scanner did not
reconstruct: the corners around a round field of view. Its value is told in many spellings (63536
for -2000), may need more bits than BitsStored, and may be one that tissue has too: where it could
have been measured, only pixels that hang together with the edge of the image are padding.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthct.data.readers.slice import Slice

AIR_HU = -1024.0
"""What padding of a CT becomes; that of an MR becomes 0."""

HIGHEST_HU = 30_000.0
"""More than any metal in a CT: such a value, like one below air, was never measured."""

NO_AIR_HU = -900.0
"""Stored numbers that reach no lower hold no air: padding is left as it is."""


def without_padding(
    stored: NDArray[Any], raw: NDArray[Any], one: Slice
) -> tuple[NDArray[Any], int]:
    """The stored pixels (Y, X) with padding as air, and how many pixels changed.

    ``raw`` are the same pixels with the bits above BitsStored.
    """
    limits = _limits(one, raw.dtype)
    is_ct = str(one.header.get("Modality", "")).upper() == "CT"
    line = _line(one)
    if limits is None or line is None or not (is_ct or one.header.get("Modality") == "MR"):
        return stored, 0
    low, high = limits
    marked = ((raw >= low) & (raw <= high)) | ((stored >= low) & (stored <= high))
    if not marked.any():
        return stored, 0
    slope, intercept = line
    bounds = np.iinfo(stored.dtype)
    aim = (AIR_HU if is_ct else 0.0) - intercept
    filler = int(np.clip(np.rint(aim / slope), bounds.min, bounds.max))
    if is_ct and filler * slope + intercept > NO_AIR_HU:
        return stored, 0
    hu = raw.astype(np.float64) * slope + intercept
    never = marked & ((hu < AIR_HU) | (hu > HIGHEST_HU)) if is_ct else np.zeros_like(marked)
    padding = (never | _at_edge(marked)) & (stored != filler)
    count = int(padding.sum())
    return (np.where(padding, stored.dtype.type(filler), stored), count) if count else (stored, 0)


def _at_edge(marked: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The marked pixels that hang together with a marked pixel at the edge of the image."""
    from scipy.ndimage import label  # most series have no padding: not worth every start

    patches, _ = label(marked)
    edge = np.concatenate([patches[0], patches[-1], patches[:, 0], patches[:, -1]])
    return np.asarray(np.isin(patches, edge[edge > 0]))


def _limits(one: Slice, dtype: np.dtype[Any]) -> tuple[int, int] | None:
    """Lowest and highest padding, read as the pixels are: signed or not, however it is spelled."""
    found = [one.header.get(name) for name in ("PixelPaddingValue", "PixelPaddingRangeLimit")]
    try:
        told = [int(value) for value in found if value not in (None, "")]
    except (TypeError, ValueError):
        return None
    if found[0] in (None, "") or dtype.kind not in "iu":
        return None
    bits = dtype.itemsize * 8
    pattern = np.array([value & ((1 << bits) - 1) for value in told], f"u{dtype.itemsize}")
    ends = pattern.view(f"{dtype.kind}{dtype.itemsize}").tolist()
    return min(ends), max(ends)


def _line(one: Slice) -> tuple[float, float] | None:
    slope, intercept = one.header.get("RescaleSlope"), one.header.get("RescaleIntercept")
    try:
        line = float(1 if slope is None else slope), float(0 if intercept is None else intercept)
    except (TypeError, ValueError):
        return None
    return line if np.isfinite(line).all() and line[0] != 0 else None
