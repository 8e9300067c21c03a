"""How large a scan may claim to be: asked of the header, before any memory is taken."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from synthct.data.errors import DataError

MAX_BYTES = 1 << 30
"""Largest decoded volume [bytes]: 2048 slices of 512 x 512 16-bit pixels."""

MAX_SIDE = 1 << 14
"""Largest number of voxels along one axis."""

MIN_SLICES = 2
"""One slice has no spacing: it is an image, not a scan."""


def checked_shape(shape: Sequence[int], dtype: np.dtype[np.generic], where: str) -> tuple[int, ...]:
    """``shape`` (Z, Y, X) if a scan of it can exist and be held; otherwise raises."""
    sizes = tuple(int(size) for size in shape)
    if len(sizes) != 3 or min(sizes) < 1 or sizes[0] < MIN_SLICES:
        raise DataError(
            "a scan has three axes and at least two slices",
            where=where,
            problem=f"the image has {' x '.join(map(str, reversed(sizes))) or 'no'} voxels",
            remedy="give the whole volume, not a single image",
            code="not-3d",
        )
    if max(sizes) > MAX_SIDE or math.prod(sizes) * dtype.itemsize > MAX_BYTES:
        raise DataError(
            f"a scan has at most {MAX_SIDE} voxels a side and {MAX_BYTES >> 20} MiB of voxels",
            where=where,
            problem=f"the header declares {' x '.join(map(str, reversed(sizes)))} voxels "
            f"of {dtype}",
            remedy="crop or resample the scan, or check the header",
            code="too-large",
        )
    return sizes
