"""Neighbourhood operations slab by slab, without arrays of the size of the whole scan."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from synthct.data.volume import Triple

SLAB_VOXELS = 2**20
"""Approximate number of voxels of a slab without its halo."""

Box = tuple[slice, slice, slice]


@dataclass(frozen=True, eq=False)
class Slab:
    """Some slices of the bounding box of a mask.

    Parameters
    ----------
    box
        Its box in the scan (z, y, x), with the halo.
    here
        The mask in that box, false in the slices of the halo. The values of a scan at ``here``
        of all slabs, concatenated, are its values at the mask.
    """

    box: Box
    here: NDArray[np.bool_]


def slabs(
    mask: NDArray[np.bool_], halo: tuple[int, int, int], *, voxels: int = SLAB_VOXELS
) -> Iterator[Slab]:
    """All slabs of a mask (Z, Y, X) in ascending order, with ``halo`` voxels (z, y, x) around each.

    The halo is cut off at the border of the scan, so that border effects occur only there.
    """
    if not mask.any():
        return
    z, y, x = _occupied(mask)
    thick = max(1, voxels // ((y.stop - y.start) * (x.stop - x.start)))
    for start in range(z.start, z.stop, thick):
        stop = min(start + thick, z.stop)
        part = (slice(start, stop), y, x)
        box = _around(part, halo, mask.shape)
        here = mask[box].copy()
        here[: start - box[0].start] = False
        here[stop - box[0].start :] = False
        if here.any():
            yield Slab(box, here)


def reach(margin_mm: float, spacing_mm: Triple) -> tuple[int, int, int]:
    """Number of voxels (z, y, x) that a margin covers, rounded up."""
    z, y, x = (int(np.ceil(margin_mm / step)) for step in spacing_mm)
    return z, y, x


def grown_box(mask: NDArray[np.bool_], halo: tuple[int, int, int]) -> Box:
    """The bounding box of a non-empty mask with ``halo`` voxels around it, inside the scan."""
    return _around(_occupied(mask), halo, mask.shape)


def _occupied(mask: NDArray[np.bool_]) -> Box:
    ends = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        marked = np.flatnonzero(mask.any(axis=others))
        ends.append(slice(int(marked[0]), int(marked[-1]) + 1))
    return ends[0], ends[1], ends[2]


def _around(part: Box, halo: tuple[int, int, int], shape: tuple[int, ...]) -> Box:
    z, y, x = (
        slice(max(0, here.start - more), min(size, here.stop + more))
        for here, more, size in zip(part, halo, shape, strict=True)
    )
    return z, y, x
