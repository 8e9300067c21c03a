"""A pair of scans for registration, validated on construction."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from synthct.data.errors import DataError, mask_empty
from synthct.data.volume import Grid, Modality, Volume


@dataclass(frozen=True, eq=False)
class ScanPair:
    """Fixed scan (MR or CBCT) and moving scan (CT) with their bodies; valid once constructed.

    Parameters
    ----------
    fixed, moving
        The scans.
    fixed_body, moving_body
        Masks (> 0 inside) on the grids of their scans.
    """

    fixed: Volume
    moving: Volume
    fixed_body: Volume
    moving_body: Volume

    def __post_init__(self) -> None:
        check_scan("fixed", self.fixed, self.fixed_body)
        check_scan("moving", self.moving, self.moving_body)


def whole_field(scan: Volume) -> Volume:
    """A mask of all voxels of a scan."""
    return Volume(np.ones(scan.grid.shape, np.uint8), scan.grid, Modality.MASK)


def check_scan(role: str, scan: Volume, body: Volume) -> None:
    """Raise unless a scan (Z, Y, X) and its body mask on the same grid can be registered.

    Raises
    ------
    DataError
        ``mask-elsewhere``, ``mask-empty``, ``scan-nan`` or ``scan-constant``; the message names
        the role, ``fixed`` or ``moving``.
    """
    if not same_place(scan.grid, body.grid):
        raise DataError(
            f"the {role} mask lies elsewhere than its scan: {body.grid.shape} at "
            f"{body.grid.origin_mm}, the scan {scan.grid.shape} at {scan.grid.origin_mm} mm",
            rule="a mask has the voxels of its scan",
            remedy="resample the mask to the scan",
            code="mask-elsewhere",
        )
    if not np.isfinite(scan.array).all():
        raise DataError(
            f"the {role} scan holds NaN or infinity",
            rule="a scan holds finite numbers",
            remedy="repair the export that wrote it",
            code="scan-nan",
        )
    inside = scan.array[np.asarray(body.array) > 0]
    if inside.size == 0:
        raise mask_empty(f"the {role} body mask", "its scan")
    if inside.min() == inside.max():
        raise DataError(
            f"the {role} scan is {inside.min()} everywhere inside the body",
            rule="a scan varies inside the body",
            remedy="check that the scan holds an image",
            code="scan-constant",
        )


SAME_PLACE = 0.1
"""Tolerance for equal grids, to allow for rounding in headers [voxels]."""


def same_place(first: Grid, second: Grid) -> bool:
    """Whether two grids agree within a tenth of a voxel."""
    return first.is_close(second, tolerance_mm=SAME_PLACE * min(first.spacing_mm))
