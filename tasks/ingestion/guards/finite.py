"""NaN and infinite voxels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from synthct.data.volume import Modality, Volume
from synthct.tasks.ingestion.findings import Code, Finding, Severity
from synthct.tasks.ingestion.guards import GUARDS

NOT_FINITE = Code(
    "not-finite",
    Severity.REJECT,
    "voxels are NaN or infinite: a few become air (CT, CBCT) or 0 (MR), many make the scan unfit",
    "export it again",
)


@GUARDS.register("finite")
@dataclass(frozen=True)
class Finite:
    """A few voxels without a value become air (CT, CBCT) or 0 (MR); many make the scan unfit.

    Parameters
    ----------
    most
        Largest part of the voxels that is repaired.
    """

    most: float = 0.01
    needs_mask: bool = False

    def __call__(self, scan: Volume, mask: Volume | None) -> tuple[Volume, list[Finding]]:
        """Replace what is not a number."""
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
