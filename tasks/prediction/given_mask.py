"""Checks of the body mask that a user gives with a scan."""

from __future__ import annotations

from itertools import product

import numpy as np

from synthct.data.errors import DataError
from synthct.data.volume import Grid, Volume

MAX_LABELS = 256
"""A mask or label map has fewer distinct values than this; an image has more."""


def require_mask(mask: Volume, scan: Grid) -> None:
    """Refuse an image in place of a mask, and a mask that covers only a part of the scan.

    Voxels outside the mask are not predicted: they are set to air without a warning.

    Raises
    ------
    DataError
        ``mask-is-image``, ``mask-elsewhere``.
    """
    sampled = mask.array[:: max(1, mask.array.shape[0] // 16)]
    values = np.unique(sampled)
    if values.min() < 0 or (values % 1 != 0).any() or len(values) > MAX_LABELS:
        raise DataError(
            f"the mask has {len(values)} different values from {values.min():g} to "
            f"{values.max():g}: it is an image",
            rule="a mask holds whole numbers of at least 0, and is above 0 in the body",
            remedy="give the mask, or leave --mask out: the body is then outlined by a threshold",
            code="mask-is-image",
        )
    ends = np.array(list(product(*((0.0, n - 1.0) for n in scan.shape))))
    index = mask.grid.index(scan.points(ends))
    # Headers are rounded: the scan may reach one voxel beyond the mask.
    slack = 0.5 + max(scan.spacing_mm) / np.asarray(mask.grid.spacing_mm)
    last = np.asarray(mask.grid.shape) - 1
    if (index < -slack).any() or (index > last + slack).any():
        beyond = np.maximum(-index, index - last).max(axis=0) * np.asarray(mask.grid.spacing_mm)
        raise DataError(
            f"the scan reaches {beyond.max():.0f} mm beyond the mask",
            rule="a mask covers the whole scan; outside it nothing would be predicted",
            remedy="give a mask on the grid of the scan",
            code="mask-elsewhere",
        )
