"""Plausibility checks before a registration: units of length and CT numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from synthct.data.errors import DataError
from synthct.data.volume import Modality, Volume
from synthct.tasks.registration.scan_pair import ScanPair

SIZES_MM = (10.0, 3000.0)
"""Plausible range of the longest side of a scan of a person [mm]."""

LARGEST_RATIO = 6.0
"""Ratio of sides of two scans implausible even for a crop, if exceeded along all axes [1]."""

FAT_HU = -30.0
"""Every CT of a person contains voxels below this value (fat, air) [HU]."""

BODY_HU = (-950.0, 700.0)
"""Plausible range of the median CT number in the body (lung to dense bone) [HU]."""


def require_plausible(pair: ScanPair) -> None:
    """Reject scans in units other than mm, and a CT that is not in Hounsfield units.

    Raises
    ------
    DataError
        ``units`` or ``not-hounsfield``.
    """
    for role, scan, body in (
        ("fixed", pair.fixed, pair.fixed_body),
        ("moving", pair.moving, pair.moving_body),
    ):
        _require_millimetres(role, scan)
        if scan.modality is Modality.CT:
            _require_hounsfield(role, scan, body)
    _require_same_units(pair)


def _require_millimetres(role: str, scan: Volume) -> None:
    longest = max(scan.grid.extent_mm)
    if not SIZES_MM[0] <= longest <= SIZES_MM[1]:
        raise DataError(
            f"the {role} scan is {longest:g} mm long",
            rule=f"a scan of a person is {SIZES_MM[0]:g} to {SIZES_MM[1]:g} mm long",
            remedy="if the scan is in metres or micrometres, correct its spacing",
            code="units",
        )


def _require_same_units(pair: ScanPair) -> None:
    first, second = (sorted(scan.grid.extent_mm) for scan in (pair.fixed, pair.moving))
    ratios = np.divide(first, second)
    if (ratios > LARGEST_RATIO).all() or (ratios < 1 / LARGEST_RATIO).all():
        raise DataError(
            f"the sizes do not fit together: {_words(first)} (fixed) and {_words(second)} (moving)",
            rule="both scans are in millimetres",
            remedy="one of them is in other units (cm, m): correct its spacing",
            code="units",
        )


def _require_hounsfield(role: str, scan: Volume, body: Volume) -> None:
    lowest = float(scan.array.min())
    middle = float(np.median(_inside(scan, body)))
    if lowest > FAT_HU or not BODY_HU[0] <= middle <= BODY_HU[1]:
        raise DataError(
            f"the {role} CT does not look like Hounsfield units: lowest value "
            f"{lowest:g}, median of the body {middle:g}",
            rule=f"a CT holds fat or air below {FAT_HU:g} HU, and the median of the body lies "
            f"within {BODY_HU[0]:g} to {BODY_HU[1]:g} HU",
            remedy="check that it is a CT (not an MR), and its rescale intercept",
            code="not-hounsfield",
        )


def _inside(scan: Volume, body: Volume) -> NDArray[np.float64]:
    return np.asarray(scan.array[np.asarray(body.array) > 0], dtype=np.float64)


def _words(sides: Sequence[float]) -> str:
    return " x ".join(f"{side:.3g}" for side in sides) + " mm"
