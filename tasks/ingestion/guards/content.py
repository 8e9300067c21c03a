"""Images without usable content: constant, not finite, or scrambled voxels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from synthct.data.volume import Modality, Volume
from synthct.tasks.ingestion.findings import Code, Finding, Severity
from synthct.tasks.ingestion.guards import GUARDS

CONSTANT = Code("constant", Severity.REJECT, "every voxel has the same value", "export it again")
EMPTY = Code("empty-slices", Severity.NOTE, "some slices hold a single value")


@GUARDS.register("constant")
@dataclass(frozen=True)
class Constant:
    """A scan has more than one value; a slice with a single value is noted."""

    needs_mask: ClassVar[bool] = False

    def __call__(self, scan: Volume, mask: Volume | None) -> tuple[Volume, list[Finding]]:
        """Compare minimum and maximum, of the volume and of each slice."""
        low, high = scan.array.min(axis=(1, 2)), scan.array.max(axis=(1, 2))
        if low.min() == high.max():
            sentence = f"every voxel is {low.min()}"
            return scan, [CONSTANT.found(sentence)]
        empty = int(np.count_nonzero(low == high))
        if empty:
            sentence = f"{empty} of {low.size} slices hold a single value"
            return scan, [EMPTY.found(sentence)]
        return scan, []


NOT_FINITE = Code(
    "not-finite",
    Severity.REJECT,
    "voxels are NaN or infinite: a few become air (CT, CBCT) or 0 (MR), more reject the scan",
    "export it again",
)


@GUARDS.register("finite")
@dataclass(frozen=True)
class Finite:
    """A few NaN or infinite voxels become air (CT, CBCT) or 0 (MR); more reject the scan.

    Parameters
    ----------
    most
        Largest fraction of the voxels that is repaired.
    """

    most: float = 0.01
    needs_mask: ClassVar[bool] = False

    def __call__(self, scan: Volume, mask: Volume | None) -> tuple[Volume, list[Finding]]:
        """Replace NaN and infinite voxels."""
        if scan.array.dtype.kind != "f":
            return scan, []
        wrong = ~np.isfinite(scan.array)
        count = int(wrong.sum())
        if count == 0:
            return scan, []
        value = 0.0 if scan.modality is Modality.MR else -1000.0
        mended = scan.with_array(np.where(wrong, np.asarray(value, scan.array.dtype), scan.array))
        if count > self.most * scan.array.size:
            sentence = f"{count} voxels ({count / scan.array.size:.1%}) are NaN or infinite"
            return mended, [NOT_FINITE.found(sentence)]
        sentence = f"{count} NaN or infinite voxels were set to {value:g}"
        return mended, [NOT_FINITE.found(sentence, Severity.REPAIR)]


SCRAMBLED = Code(
    "scrambled",
    Severity.REJECT,
    "neighbouring voxels are not correlated: byte order or row length is wrong",
    "export it again",
)


@GUARDS.register("scrambled")
@dataclass(frozen=True)
class Scrambled:
    r"""Neighbours in a slice correlate: :math:`\rho = 1 - \langle (v - v')^2\rangle / 2\sigma^2`.

    Parameters
    ----------
    least
        Smallest correlation of neighbours along rows and columns; a body has 0.8 or more.
    """

    least: float = 0.3
    needs_mask: ClassVar[bool] = False

    def __call__(self, scan: Volume, mask: Volume | None) -> tuple[Volume, list[Finding]]:
        """Correlate neighbours along both in-plane axes."""
        values = scan.array.astype(np.float64)
        variance = float(values.var())
        if not np.isfinite(variance) or variance == 0 or min(values.shape) < 2:
            return scan, []
        alike = [
            1 - float((np.diff(values, axis=axis) ** 2).mean()) / (2 * variance) for axis in (1, 2)
        ]
        if min(alike) >= self.least:
            return scan, []
        return scan, [SCRAMBLED.found(f"neighbouring voxels correlate by {min(alike):.2f} only")]
