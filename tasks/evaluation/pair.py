"""A pair of synthetic CT and reference: checked once, then passed to every metric."""

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
    """Result of a metric: values by name (None: undefined) and warnings."""

    values: Mapping[str, float | None]
    warnings: tuple[str, ...] = field(default=())


class Metric(Protocol):
    """A metric; a frozen dataclass registered in ``tasks/evaluation/metrics``."""

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
    """Check two CTs [HU] (Z, Y, X), and set both to ``OUTSIDE_HU`` outside the mask, in float64.

    Parameters
    ----------
    mask
        Voxels > 0 are scored; None: all voxels.

    Raises
    ------
    DataError
        Shapes differ, the mask is empty, or a voxel is not finite; such voxels are never
        averaged over.
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
            f"prediction, reference and mask have the shapes {prediction.shape}, "
            f"{reference.shape} and {inside.shape}",
            rule="they must have one shape (Z, Y, X)",
            remedy="resample onto the reference's grid first",
            code="shape-mismatch",
        )
    if not inside.any():
        raise mask_empty("the mask", "")


def require_finite(array: NDArray[Any], where: str) -> None:
    """Raise :class:`DataError` unless every voxel is finite."""
    bad = array.size - int(np.count_nonzero(np.isfinite(array)))
    if bad:
        raise DataError(
            f"{bad} of {array.size} voxels are NaN or infinite",
            where=where,
            remedy="repair the file: a mean over the other voxels would hide the defect",
            code="not-finite",
        )
