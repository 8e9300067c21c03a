"""A synthetic CT beside its reference: checked once, then measured by every metric."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from synthct.data.errors import DataError, mask_empty
from synthct.tasks.evaluation.profiles import OUTSIDE_HU, PROFILES, Profile

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class MaskedPair:
    """Two CTs [HU] on one grid (Z, Y, X), both ``OUTSIDE_HU`` outside the mask.

    Build it with :func:`masked_pair`, which checks.
    """

    reference: Floats
    prediction: Floats
    mask: Mask
    profile: Profile
    spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0)


@dataclass(frozen=True)
class Measured:
    """What a metric found: numbers by name (none where there is no number) and what to know."""

    values: Mapping[str, float | None]
    warnings: tuple[str, ...] = field(default=())


class Metric(Protocol):
    """One way to compare; a frozen dataclass registered in ``tasks/evaluation/metrics``."""

    def __call__(self, pair: MaskedPair) -> Measured:
        """Measure the pair."""


def masked_pair(
    reference: NDArray[Any],
    prediction: NDArray[Any],
    mask: NDArray[Any] | None = None,
    *,
    profile: Profile = PROFILES["synthrad2025_container"],
    spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0),
) -> MaskedPair:
    """Binarise the mask (``> 0``; none: all voxels), empty what is outside, in float64.

    Shapes that differ, an empty mask and numbers that are not finite raise :class:`DataError`:
    they are never averaged over.
    """
    inside = np.ones(reference.shape, bool) if mask is None else np.asarray(mask) > 0
    _check_shapes(reference, prediction, inside)
    for name, array in (("reference", reference), ("prediction", prediction)):
        require_finite(array, name)
    return MaskedPair(
        np.where(inside, reference.astype(np.float64), OUTSIDE_HU),
        np.where(inside, prediction.astype(np.float64), OUTSIDE_HU),
        inside,
        profile,
        spacing_mm,
    )


def _check_shapes(reference: NDArray[Any], prediction: NDArray[Any], inside: Mask) -> None:
    if not reference.ndim == 3 or not reference.shape == prediction.shape == inside.shape:
        raise DataError(
            "prediction, reference and mask have one shape (Z, Y, X)",
            got=f"{prediction.shape}, {reference.shape}, {inside.shape}",
            remedy="resample onto the reference's grid first",
            code="shape-mismatch",
        )
    if not inside.any():
        raise mask_empty("the mask", "")


def require_finite(array: NDArray[Any], where: str) -> None:
    """Raise unless every voxel is a number."""
    bad = array.size - int(np.count_nonzero(np.isfinite(array)))
    if bad:
        raise DataError(
            "voxels are finite",
            where=where,
            got=f"{bad} NaN or infinite",
            remedy="mend the file: a mean over the others would hide it",
            code="not-finite",
        )
